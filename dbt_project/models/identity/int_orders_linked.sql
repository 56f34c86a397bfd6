{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='order_id',
    indexes=[
        {'columns': ['order_id'], 'unique': true},
        {'columns': ['set_id']},
        {'columns': ['batch_id']},
        {'columns': ['ordered_at']},
        {'columns': ['ordered_date']},
    ],
    post_hook="{{ distributed_by('order_id') }}",
) }}

with new_lines as (
    {{ newly_known(ref('stg_raw__order_lines'), 'ordered_at', 'ordered_at') }}
),

new_events as (
    {{ newly_known(ref('int_events_linked'), 'occurred_at', 'ordered_at') }}
),

touched as (
    select order_id from new_lines
    union
    select order_id from new_events
    where order_id is not null
),

lines as (
    select
        order_lines.*,
        order_lines.customer_id as crm_contact_id,
        order_lines.quantity * order_lines.unit_price_amount as amount
    from {{ ref('stg_raw__order_lines') }} as order_lines
    inner join touched on order_lines.order_id = touched.order_id
),

events as (
    select
        linked.*,
        (
            select
                sum(case
                    when jsonb_typeof(product -> 'quantity') = 'number'
                        then (product ->> 'quantity')::numeric
                    else 1
                end)
            from jsonb_path_query(linked.products, '$[*]') as product
        ) as item_count,
        array(
            select distinct product ->> 'product_id'
            from jsonb_path_query(linked.products, '$[*]') as product
            where product ->> 'product_id' is not null
            order by product ->> 'product_id'
        ) as product_ids
    from {{ ref('int_events_linked') }} as linked
    inner join touched on linked.order_id = touched.order_id
    where linked.type in ('order_completed', 'order_refunded')
),

-- The earliest line dates an invoice: some are typed in over two minutes.
invoiced as (
    select
        order_id,
        min(kind) as kind,
        min(ordered_at) as ordered_at,
        max({{ identifier_set_id(['crm_contact_id']) }}::text)::uuid as set_id,
        min(currency) as currency,
        min(country) as country,
        coalesce(sum(amount) filter (where amount > 0), 0) as revenue_amount,
        -coalesce(sum(amount) filter (where amount < 0), 0) as refund_amount,
        sum(abs(quantity)) as item_count,
        array_agg(distinct product_id order by product_id) as product_ids,
        min(kind) = 'sale' and max(quantity) < 0 as is_stock_adjustment,
        max(batch_id) as batch_id
    from lines
    group by order_id
),

-- The first report of an order counts; trackers repeat themselves.
tracked as (
    select distinct on (order_id) *
    from events
    where type = 'order_completed'
    order by order_id, occurred_at, event_id
),

sales as (
    select
        coalesce(invoiced.order_id, tracked.order_id) as order_id,
        null::text as refunded_order_id,
        coalesce(invoiced.set_id, tracked.set_id) as set_id,
        coalesce(invoiced.kind, 'sale') as kind,
        coalesce(invoiced.ordered_at, tracked.occurred_at) as ordered_at,
        coalesce(invoiced.currency, tracked.currency, {{ workspace_currency() }}) as currency,
        coalesce(invoiced.revenue_amount, tracked.revenue_amount, 0) as revenue_amount,
        coalesce(invoiced.refund_amount, 0) as refund_amount,
        coalesce(tracked.discount_amount, 0) as discount_amount,
        tracked.coupon,
        coalesce(invoiced.item_count, tracked.item_count, 0) as item_count,
        coalesce(invoiced.product_ids, tracked.product_ids) as product_ids,
        invoiced.country,
        coalesce(invoiced.is_stock_adjustment, false) as is_stock_adjustment,
        greatest(invoiced.batch_id, tracked.batch_id) as batch_id
    from invoiced
    full outer join tracked on invoiced.order_id = tracked.order_id
),

refunds as (
    select
        events.order_id || ':refund:' || events.event_id as order_id,
        events.order_id as refunded_order_id,
        events.set_id,
        'credit_note' as kind,
        events.occurred_at as ordered_at,
        coalesce(events.currency, sales.currency, {{ workspace_currency() }}) as currency,
        0 as revenue_amount,
        coalesce(events.revenue_amount, sales.revenue_amount, 0) as refund_amount,
        0 as discount_amount,
        null::text as coupon,
        coalesce(events.item_count, 0) as item_count,
        events.product_ids,
        sales.country,
        false as is_stock_adjustment,
        events.batch_id
    from events
    left join sales on events.order_id = sales.order_id
    where events.type = 'order_refunded'
)

select
    orders.*,
    (orders.ordered_at at time zone {{ workspace_time_zone() }})::date as ordered_date
from (
    select * from sales
    union all
    select * from refunds
) as orders
