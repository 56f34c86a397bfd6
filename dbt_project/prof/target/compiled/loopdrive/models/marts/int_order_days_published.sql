

with orders as (
    select * from "loopdrive_dbta"."marts"."orders"
),

-- Days that are over: what is said about them should stand.
totals as (
    select
        orders.ordered_date as date,
        totals.column_name,
        totals.value
    from (
        select
            orders.ordered_date,
            count(*) filter (where orders.kind = 'sale') as order_count,
            sum(orders.net_revenue_amount) as net_revenue_amount
        from orders
        where orders.ordered_date < ((select workspace.as_of from "loopdrive_dbta"."raw"."workspace" as workspace) at time zone (select workspace.time_zone from "loopdrive_dbta"."raw"."workspace" as workspace))::date
        group by orders.ordered_date
    ) as orders
    cross join lateral (
        values
        ('order_count', orders.order_count::numeric),
        ('net_revenue_amount', orders.net_revenue_amount)
    ) as totals (column_name, value)
)


, published as (
    select distinct on (date, column_name)
        date,
        column_name,
        value
    from "loopdrive_dbta"."marts"."int_order_days_published"
    order by date, column_name, published_at desc
)


select
    totals.date,
    totals.column_name,
    totals.value,
    (select workspace.as_of from "loopdrive_dbta"."raw"."workspace" as workspace) as published_at
from totals

left join published
    on totals.date = published.date and totals.column_name = published.column_name
where totals.value is distinct from published.value
