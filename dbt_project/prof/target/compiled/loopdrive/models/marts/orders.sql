

with orders as (
    select * from "loopdrive_dbta"."identity"."int_orders_linked"
),

sets as (
    select * from "loopdrive_dbta"."identity"."int_identifier_sets_resolved"
),

profiles as (
    select * from "loopdrive_dbta"."identity"."profiles"
),

rates as (
    select * from "loopdrive_dbta"."staging"."stg_raw__currency_rates"
),

workspace as (
    select * from "loopdrive_dbta"."staging"."stg_raw__workspace"
),

priced as (
    select
        orders.*,
        workspace.time_zone,
        case
            when coalesce(orders.currency, workspace.currency) = workspace.currency then 1
            else (
                -- The last rate before the order; before all rates, the first.
                select rates.rate_to_workspace
                from rates
                where rates.currency = orders.currency
                order by
                    rates.date > (orders.ordered_at at time zone workspace.time_zone)::date,
                    abs(rates.date - (orders.ordered_at at time zone workspace.time_zone)::date)
                limit 1
            )
        end as rate,
        coalesce(orders.currency, workspace.currency) as source_currency
    from orders
    cross join workspace
)

select
    priced.order_id,
    sets.person_id,
    priced.kind,
    priced.ordered_at,
    (priced.ordered_at at time zone priced.time_zone)::date as ordered_date,
    priced.revenue_amount * priced.rate as revenue_amount,
    priced.refund_amount * priced.rate as refund_amount,
    (priced.revenue_amount - priced.refund_amount) * priced.rate as net_revenue_amount,
    coalesce(priced.discount_amount, 0) * priced.rate as discount_amount,
    priced.coupon,
    priced.item_count,
    priced.product_ids,
    coalesce(priced.country, profiles.country) as country,
    priced.refunded_order_id,
    priced.is_stock_adjustment,
    priced.source_currency
from priced
left join sets on priced.set_id = sets.set_id
left join profiles on sets.person_id = profiles.person_id