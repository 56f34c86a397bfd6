{{ config(
    materialized='incremental',
    incremental_strategy='append',
    full_refresh=false,
    contract={'enforced': false},
) }}

with orders as (
    select * from {{ ref('orders') }}
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
        where orders.ordered_date < ({{ as_of() }} at time zone {{ workspace_time_zone() }})::date
        group by orders.ordered_date
    ) as orders
    cross join lateral (
        values
        ('order_count', orders.order_count::numeric),
        ('net_revenue_amount', orders.net_revenue_amount)
    ) as totals (column_name, value)
)

{% if is_incremental() %}
, published as (
    select distinct on (date, column_name)
        date,
        column_name,
        value
    from {{ this }}
    order by date, column_name, published_at desc
)
{% endif %}

select
    totals.date,
    totals.column_name,
    totals.value,
    {{ as_of() }} as published_at
from totals
{% if is_incremental() %}
left join published
    on totals.date = published.date and totals.column_name = published.column_name
where totals.value is distinct from published.value
{% endif %}
