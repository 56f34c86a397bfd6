{{ config(materialized='view', contract={'enforced': false}) }}

-- The last thing done to a product of a cart decides; an order empties the cart.
with actions as (
    select
        sets.person_id,
        linked.product_id,
        linked.type,
        linked.occurred_at,
        row_number() over (
            partition by sets.person_id, linked.product_id
            order by linked.occurred_at desc, linked.event_id
        ) as recency
    from {{ ref('int_identifier_sets_resolved') }} as sets
    inner join {{ ref('int_events_linked') }} as linked on sets.set_id = linked.set_id
    where
        linked.type in ('product_added', 'product_removed')
        and linked.product_id is not null
        and not linked.is_bot
        and linked.occurred_at
        > {{ as_of() }} - make_interval(days => {{ var('cart_life_days') }})
)

select
    actions.person_id,
    actions.product_id,
    actions.occurred_at
from actions
left join {{ ref('person_stats') }} as stats on actions.person_id = stats.person_id
where
    actions.recency = 1
    and actions.type = 'product_added'
    and actions.occurred_at > coalesce(stats.last_order_at, '-infinity')
