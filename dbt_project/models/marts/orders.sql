{{ config(materialized='view') }}

with orders as (
    select
        linked.*,
        (linked.ordered_at at time zone {{ workspace_time_zone() }})::date as ordered_date
    from {{ ref('int_orders_linked') }} as linked
),

sets as (
    select * from {{ ref('int_identifier_sets_resolved') }}
),

profiles as (
    select * from {{ ref('profiles') }}
),

rates as (
    select * from {{ ref('int_currency_rates_filled') }}
),

priced as (
    select
        orders.*,
        coalesce(orders.currency, workspace.currency) as source_currency,
        case
            when coalesce(orders.currency, workspace.currency) = workspace.currency then 1
            else rates.rate_to_workspace
        end as rate
    from orders
    cross join {{ ref('stg_raw__workspace') }} as workspace
    left join rates
        on orders.currency = rates.currency and orders.ordered_date = rates.date
)

select
    priced.order_id,
    sets.person_id,
    priced.kind,
    priced.ordered_at,
    priced.ordered_date,
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
