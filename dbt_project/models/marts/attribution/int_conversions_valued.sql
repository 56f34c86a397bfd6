{{ config(materialized='view', contract={'enforced': false}) }}

-- What a conversion earned: its revenue without what was refunded inside the window after it.
with

sales as (
    select * from {{ ref('orders') }}
    where kind = 'sale' and person_id is not null
),

refunds as (
    select
        sales.order_id,
        sum(credit_notes.refund_amount) as refund_amount
    from {{ ref('orders') }} as credit_notes
    inner join {{ ref('int_orders_linked') }} as sales
        on
            credit_notes.refunded_order_id = sales.order_id
            and credit_notes.ordered_at
            <= sales.ordered_at + interval '{{ var("attribution_refund_days", 30) }} days'
    where credit_notes.kind = 'credit_note'
    group by sales.order_id
),

valued as (
    select
        sales.order_id as conversion_id,
        sales.person_id,
        sales.ordered_at as converted_at,
        sales.ordered_date as date,
        sales.country,
        round(
            sales.revenue_amount - sales.refund_amount - coalesce(refunds.refund_amount, 0), 2
        ) as revenue_amount
    from sales
    left join refunds on sales.order_id = refunds.order_id
)

select * from valued
