with

person_identifiers as (
    select * from {{ ref('person_identifiers') }}
    where identifier_type = 'email'
),

actions as (
    select * from {{ ref('int_actions_recent') }}
),

orders as (
    select * from {{ ref('orders') }}
    where kind = 'sale' and person_id is not null
),

identified as (
    select
        person_identifiers.person_id,
        min(person_identifiers.first_seen_at) as identified_at
    from person_identifiers
    group by person_identifiers.person_id
),

firsts as (
    select distinct on (orders.person_id)
        orders.person_id,
        orders.revenue_amount
    from orders
    order by orders.person_id, orders.ordered_at, orders.order_id
),

newcomers as (
    select identified.*
    from identified
    left join firsts on identified.person_id = firsts.person_id
    where
        firsts.person_id is null
        and identified.identified_at
        > {{ as_of() }} - interval '{{ var("welcome_days", 7) }} days'
),

-- What a first order is worth here: the mean of everybody's first.
expected as (
    select coalesce(round(avg(firsts.revenue_amount), 2), 0) as value_amount
    from firsts
),

viewed as (
    select
        actions.person_id,
        actions.product_id,
        max(actions.name) as name,
        max(actions.category) as category,
        max(actions.price_amount) as price_amount,
        row_number() over (
            partition by actions.person_id
            order by max(actions.occurred_at) desc, actions.product_id
        ) as position
    from actions
    inner join newcomers on actions.person_id = newcomers.person_id
    group by actions.person_id, actions.product_id
),

interests as (
    select
        viewed.person_id,
        jsonb_agg(
            jsonb_build_object(
                'product_id', viewed.product_id, 'name', viewed.name,
                'category', viewed.category, 'price_amount', viewed.price_amount
            )
            order by viewed.position
        ) filter (where viewed.position <= 5) as items,
        jsonb_agg(distinct viewed.category) filter (where viewed.category is not null)
            as categories
    from viewed
    group by viewed.person_id
),

opportunities as (
    select
        newcomers.person_id,
        md5('welcome|' || newcomers.person_id) as opportunity_id,
        1 as step,
        'joined_without_order' as reason,
        jsonb_build_object(
            'items', coalesce(interests.items, '[]'),
            'categories', coalesce(interests.categories, '[]')
        ) as context,
        expected.value_amount,
        newcomers.identified_at as available_from,
        newcomers.identified_at
        + interval '{{ var("welcome_days", 7) }} days' as expires_at
    from newcomers
    cross join expected
    left join interests on newcomers.person_id = interests.person_id
)

select * from opportunities
