{{ config(
    materialized='incremental',
    incremental_strategy='replace_touched_persons',
    indexes=[{'columns': ['person_id', 'position'], 'unique': true}, {'columns': ['batch_id']}],
    post_hook="{{ distributed_by('person_id') }}",
) }}

with touched as (
    {{ touched_persons() }}
),

workspace as (
    select * from {{ ref('stg_raw__workspace') }}
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

-- Orders come from their own table: those of invoices have no event, and amounts are in one
-- currency there. Pages, and the noise of delivery, say nothing about a person.
events as (
    select
        resolved.person_id,
        resolved.occurred_at,
        resolved.type,
        initcap(replace(resolved.type, '_', ' '))
        || coalesce(': ' || resolved.product_id, ': ' || resolved.program, '') as summary,
        resolved.event_id,
        touched.batch_id
    from touched
    inner join {{ ref('int_events_resolved') }} as resolved
        on touched.person_id = resolved.person_id
    where
        not resolved.is_bot
        and resolved.type not in (
            'page_viewed', 'screen_viewed', 'identified', 'aliased', 'order_completed',
            'order_refunded', 'email_processed', 'email_deferred', 'sms_sent'
        )
        and not exists (
            select 1
            from runaways
            where resolved.person_id = runaways.person_id
                and resolved.is_visit
                and resolved.occurred_at between runaways.started_at and runaways.ended_at
        )
),

orders as (
    select
        orders.person_id,
        orders.ordered_at as occurred_at,
        case orders.kind when 'sale' then 'order_completed' else 'order_refunded' end as type,
        case orders.kind when 'sale' then 'Ordered' else 'Returned' end
        || ' ' || orders.item_count::bigint || ' items'
        || coalesce(
            ' for ' || round(abs(orders.net_revenue_amount), 2) || ' ' || workspace.currency, ''
        ) as summary,
        orders.order_id as event_id,
        touched.batch_id
    from touched
    inner join {{ ref('orders') }} as orders on touched.person_id = orders.person_id
    cross join workspace
),

positioned as (
    select
        items.*,
        row_number() over (
            partition by items.person_id
            order by items.occurred_at desc, items.event_id
        ) as position
    from (
        select * from events
        union all
        select * from orders
    ) as items
)

select
    person_id,
    position,
    occurred_at,
    type,
    summary,
    event_id,
    batch_id
from positioned
where position <= {{ var('chronology_length_count') }}
