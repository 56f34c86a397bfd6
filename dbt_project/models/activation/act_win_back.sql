with

orders as (
    select * from {{ ref('orders') }}
    where kind = 'sale' and person_id is not null
),

products as (
    select * from {{ ref('stg_raw__products') }}
),

last_orders as (
    select distinct on (orders.person_id)
        orders.person_id,
        orders.order_id,
        orders.ordered_at,
        orders.product_ids,
        avg(orders.net_revenue_amount) over (
            partition by orders.person_id
        ) as mean_net_revenue_amount
    from orders
    order by orders.person_id, orders.ordered_at desc, orders.order_id
),

-- After a year of silence a person is a stranger, whom acquisition may find again.
lapsed as (
    select * from last_orders
    where
        ordered_at <= {{ as_of() }} - interval '{{ var("win_back_days", 90) }} days'
        and ordered_at
        > {{ as_of() }} - interval '{{ var("win_back_until_days", 365) }} days'
),

bought as (
    select
        lapsed.person_id,
        unnest(lapsed.product_ids) as product_id
    from lapsed
),

contexts as (
    select
        bought.person_id,
        jsonb_build_object(
            'items', jsonb_path_query_array(
                jsonb_agg(
                    jsonb_build_object(
                        'product_id', bought.product_id,
                        'name', products.name,
                        'category', products.category,
                        'price_amount', products.price_amount
                    )
                    order by products.price_amount desc nulls last, bought.product_id
                ),
                '$[0 to 4]'
            ),
            'categories', coalesce(
                jsonb_agg(distinct products.category)
                filter (where products.category is not null),
                '[]'
            )
        ) as context
    from bought
    left join products on bought.product_id = products.product_id
    group by bought.person_id
),

opportunities as (
    select
        lapsed.person_id,
        md5('win_back|' || lapsed.order_id) as opportunity_id,
        1 as step,
        'no_order_since' as reason,
        coalesce(contexts.context, '{"items": [], "categories": []}') as context,
        round(greatest(lapsed.mean_net_revenue_amount, 0), 2) as value_amount,
        lapsed.ordered_at
        + interval '{{ var("win_back_days", 90) }} days' as available_from,
        lapsed.ordered_at
        + interval '{{ var("win_back_until_days", 365) }} days' as expires_at
    from lapsed
    left join contexts on lapsed.person_id = contexts.person_id
)

select * from opportunities
