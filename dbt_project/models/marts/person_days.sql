{{ config(
    materialized='incremental',
    incremental_strategy='replace_touched_persons',
    indexes=[
        {'columns': ['person_id', 'date'], 'unique': true},
        {'columns': ['batch_id']},
        {'columns': ['date']},
    ],
    post_hook="{{ distributed_by('person_id') }}",
) }}
{%- set event_counts = {
    'page_view_count': "type in ('page_viewed', 'screen_viewed')",
    'product_view_count': "type = 'product_viewed'",
    'cart_add_count': "type = 'product_added'",
    'checkout_count': "type = 'checkout_started'",
    'support_ticket_count': "type = 'support_ticket_opened'",
} %}
{%- set message_counts = {
    'email_delivered_count': 'email_delivered',
    'email_open_count': 'email_opened',
    'email_click_count': 'email_clicked',
    'sms_delivered_count': 'sms_delivered',
    'sms_click_count': 'sms_clicked',
} %}

with touched as (
    {{ touched_persons() }}
),

orders as (
    select
        orders.*,
        touched.batch_id
    from touched
    inner join {{ ref('orders') }} as orders on touched.person_id = orders.person_id
),

-- What a runaway session holds nobody did.
runaways as materialized (
    select
        opened.person_id,
        opened.started_at,
        opened.ended_at
    from touched
    inner join {{ ref('int_sessions_opened') }} as opened
        on touched.person_id = opened.person_id
    where opened.kind = 'runaway'
),

event_facts as (
    select
        resolved.person_id,
        (resolved.occurred_at at time zone {{ workspace_time_zone() }})::date as date,
        case when resolved.message_key is null then 'event' else 'message' end as fact,
        resolved.type,
        resolved.occurred_at as moment,
        touched.batch_id
    from touched
    inner join {{ ref('int_events_resolved') }} as resolved
        on touched.person_id = resolved.person_id
    where
        not resolved.is_bot
        and not exists (
            select 1
            from runaways
            where resolved.person_id = runaways.person_id
                and resolved.is_visit
                and resolved.occurred_at between runaways.started_at and runaways.ended_at
        )
),

session_facts as (
    select
        sessions.person_id,
        (sessions.started_at at time zone {{ workspace_time_zone() }})::date as date,
        'session' as fact,
        null as type,
        null::timestamptz as moment,
        touched.batch_id
    from touched
    inner join {{ ref('sessions') }} as sessions on touched.person_id = sessions.person_id
),

-- A product counts on the day it was first bought.
product_facts as (
    select
        orders.person_id,
        min(orders.ordered_date) as date,
        'product' as fact,
        null as type,
        null::timestamptz as moment,
        min(orders.batch_id) as batch_id
    from orders
    cross join lateral unnest(orders.product_ids) as products (product_id)
    where orders.kind = 'sale'
    group by orders.person_id, products.product_id
),

-- One pass over all facts: the planner knows too little of a few touched persons to join them.
facts as (
    select
        *,
        0 as revenue_amount,
        0 as refund_amount,
        0 as discount_amount
    from (
        select * from event_facts
        union all
        select * from session_facts
        union all
        select * from product_facts
    ) as counted
    union all
    select
        person_id,
        ordered_date,
        case when kind = 'sale' and not is_stock_adjustment then 'order' else 'credit' end,
        null,
        ordered_at,
        batch_id,
        revenue_amount,
        refund_amount,
        discount_amount
    from orders
)

select
    person_id,
    date,
    count(*) filter (where fact = 'event') as event_count,
    {%- for measure, condition in event_counts.items() %}
    count(*) filter (where fact = 'event' and {{ condition }}) as {{ measure }},
    {%- endfor %}
    {%- for measure, type in message_counts.items() %}
    count(*) filter (where fact = 'message' and type = '{{ type }}') as {{ measure }},
    {%- endfor %}
    count(*) filter (where fact = 'session') as session_count,
    count(*) filter (where fact = 'order') as order_count,
    count(*) filter (where fact = 'product') as new_product_count,
    -- an order whose currency has no rate yet counts, without its amounts
    coalesce(sum(revenue_amount), 0) as revenue_amount,
    coalesce(sum(refund_amount), 0) as refund_amount,
    coalesce(sum(revenue_amount), 0) - coalesce(sum(refund_amount), 0) as net_revenue_amount,
    coalesce(sum(discount_amount), 0) as discount_amount,
    min(moment) filter (where fact in ('event', 'order')) as first_active_at,
    max(moment) filter (where fact in ('event', 'order')) as last_active_at,
    min(moment) filter (where fact = 'order') as first_order_at,
    max(moment) filter (where fact = 'order') as last_order_at,
    min(batch_id) as batch_id
from facts
group by person_id, date
