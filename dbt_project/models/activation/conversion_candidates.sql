with

workspace as (
    select * from {{ ref('stg_raw__workspace') }}
),

-- Platforms refuse a conversion that is older than a week.
orders as (
    select * from {{ ref('orders') }}
    where
        kind = 'sale'
        and person_id is not null
        and revenue_amount > 0
        and ordered_at > {{ as_of() }} - interval '{{ var("conversion_upload_days", 7) }} days'
),

clicks as (
    select * from {{ ref('int_events_linked') }}
    where
        click_id is not null
        and not is_bot
        and occurred_at > {{ as_of() }} - interval '{{
            var("conversion_upload_days", 7) + var("conversion_click_days", 90)
        }} days'
),

sets as (
    select * from {{ ref('int_identifier_sets_resolved') }}
),

-- Every platform is told of the last click it sold: which of them earned the order is our
-- attribution's question, not theirs.
clicked as (
    select distinct on (orders.order_id, clicks.click_id_type)
        orders.order_id,
        orders.person_id,
        orders.ordered_at,
        orders.revenue_amount,
        clicks.click_id_type,
        clicks.click_id,
        clicks.channel
    from orders
    inner join sets on orders.person_id = sets.person_id
    inner join clicks
        on
            sets.set_id = clicks.set_id
            and orders.ordered_at >= clicks.occurred_at
            and orders.ordered_at
            <= clicks.occurred_at + interval '{{ var("conversion_click_days", 90) }} days'
    order by orders.order_id, clicks.click_id_type, clicks.occurred_at desc, clicks.event_id
),

candidates as (
    select
        clicked.order_id as conversion_id,
        clicked.person_id,
        clicked.ordered_at as occurred_at,
        clicked.revenue_amount as value_amount,
        workspace.currency,
        clicked.click_id_type,
        clicked.click_id,
        case clicked.channel when 'mobile' then 'app' else 'website' end as action_source,
        'Purchase' as event_name
    from clicked
    cross join workspace
)

select * from candidates
