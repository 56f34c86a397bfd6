{{ config(materialized='view') }}

-- No CTE here: Postgres plans a view that has one by itself, and whoever joins it for a few
-- persons would read every order.
select
    orders.order_id,
    sets.person_id,
    orders.kind,
    orders.ordered_at,
    orders.ordered_date,
    orders.revenue_amount * rates.rate_to_workspace as revenue_amount,
    orders.refund_amount * rates.rate_to_workspace as refund_amount,
    (orders.revenue_amount - orders.refund_amount) * rates.rate_to_workspace
        as net_revenue_amount,
    orders.discount_amount * rates.rate_to_workspace as discount_amount,
    orders.coupon,
    orders.item_count,
    orders.product_ids,
    coalesce(orders.country, profiles.country) as country,
    orders.refunded_order_id,
    orders.is_stock_adjustment,
    orders.currency as source_currency
from {{ ref('int_orders_linked') }} as orders
left join {{ ref('int_currency_rates_filled') }} as rates
    on orders.currency = rates.currency and orders.ordered_date = rates.date
left join {{ ref('int_identifier_sets_resolved') }} as sets on orders.set_id = sets.set_id
left join {{ ref('profiles') }} as profiles on sets.person_id = profiles.person_id
