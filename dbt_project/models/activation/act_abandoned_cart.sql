with

actions as (
    select * from {{ ref('int_actions_recent') }}
    where type = 'product_added'
),

last_orders as (
    select
        person_id,
        max(ordered_at) as ordered_at
    from {{ ref('orders') }}
    where kind = 'sale' and person_id is not null
    group by person_id
),

added as (
    select
        actions.*,
        max(actions.occurred_at) over (partition by actions.person_id) as last_added_at
    from actions
    left join last_orders on actions.person_id = last_orders.person_id
    where actions.occurred_at > coalesce(last_orders.ordered_at, '-infinity')
),

-- The first item names the cart: one added later belongs to the same occasion.
abandoned as (
    select
        added.*,
        first_value(added.event_id) over (
            partition by added.person_id order by added.occurred_at, added.event_id
        ) as cart_id
    from added
    where
        added.last_added_at
        > {{ as_of() }} - interval '{{ var("cart_kept_hours", 48) }} hours'
        and added.last_added_at
        <= {{ as_of() }} - interval '{{ var("cart_idle_hours", 2) }} hours'
        and added.occurred_at > added.last_added_at - interval '7 days'
),

items as (
    select
        abandoned.person_id,
        abandoned.product_id,
        max(abandoned.name) as name,
        max(abandoned.category) as category,
        sum(abandoned.quantity) as quantity,
        max(abandoned.price_amount) as price_amount,
        min(abandoned.cart_id) as cart_id,
        max(abandoned.occurred_at) as last_added_at,
        row_number() over (
            partition by abandoned.person_id
            order by max(abandoned.occurred_at) desc, abandoned.product_id
        ) as position
    from abandoned
    group by abandoned.person_id, abandoned.product_id
),

carts as (
    select
        items.person_id,
        min(items.cart_id) as cart_id,
        max(items.last_added_at) as last_added_at,
        coalesce(round(sum(items.quantity * items.price_amount), 2), 0) as value_amount,
        jsonb_build_object(
            'item_count', sum(items.quantity),
            'items', jsonb_agg(
                jsonb_build_object(
                    'product_id', items.product_id, 'name', items.name,
                    'category', items.category,
                    'quantity', items.quantity,
                    'price_amount', items.price_amount
                )
                order by items.position
            ) filter (where items.position <= 5),
            'categories', coalesce(
                jsonb_agg(distinct items.category) filter (where items.category is not null), '[]'
            )
        ) as context
    from items
    group by items.person_id
),

opportunities as (
    select
        carts.person_id,
        md5('abandoned_cart|' || carts.cart_id) as opportunity_id,
        1 as step,
        'cart_left' as reason,
        carts.context,
        carts.value_amount,
        carts.last_added_at
        + interval '{{ var("cart_idle_hours", 2) }} hours' as available_from,
        carts.last_added_at
        + interval '{{ var("cart_kept_hours", 48) }} hours' as expires_at
    from carts
)

select * from opportunities
