{{ config(
    materialized='incremental',
    incremental_strategy='replace_touched_persons',
    indexes=[
        {'columns': ['person_id', 'started_at']},
        {'columns': ['batch_id']},
        {'columns': ['started_at']},
    ],
    post_hook="{{ distributed_by('person_id') }}",
) }}

with touched as (
    {{ touched_persons() }}
),

events as (
    select * from {{ ref('int_events_resolved') }}
),

channel_rules as (
    select * from {{ ref('channel_rules') }}
),

visits as (
    select
        events.*,
        touched.batch_id as touched_batch_id,
        nullif(concat_ws(
            chr(31), events.utm_source, events.utm_medium, events.utm_campaign, events.click_id_type
        ), '') as campaign
    from touched
    inner join events on touched.person_id = events.person_id
    where events.is_visit and not events.is_bot
),

-- A stretch is what no pause interrupts.
paused as (
    select
        visits.*,
        coalesce(
            occurred_at - lag(occurred_at) over (
                partition by person_id order by occurred_at, event_id
            ) > make_interval(mins => {{ var('session_gap_minutes') }}),
            true
        ) as is_after_pause
    from visits
),

stretches as (
    select
        paused.*,
        count(*) filter (where is_after_pause) over (
            partition by person_id order by occurred_at, event_id
        ) as stretch_number
    from paused
),

-- Within a stretch, another campaign than the one before opens a session of its own.
opened as (
    select
        stretches.*,
        is_after_pause or (
            campaign is not null
            and campaign is distinct from lag(campaign) over (
                partition by person_id, stretch_number, campaign is null
                order by occurred_at, event_id
            )
        ) as is_opening
    from stretches
),

numbered as (
    select
        opened.*,
        count(*) filter (where is_opening) over (
            partition by person_id order by occurred_at, event_id
        ) as session_number
    from opened
),

grouped as (
    select
        person_id,
        session_number,
        min(touched_batch_id) as batch_id,
        min(occurred_at) as started_at,
        max(occurred_at) as ended_at,
        count(*) as event_count,
        max(event_id) filter (where is_opening) as landing_event_id,
        max(page_path) filter (where is_opening) as landing_path,
        max(referrer_domain) filter (where is_opening) as referrer_domain,
        max(utm_source) filter (where is_opening) as utm_source,
        max(utm_medium) filter (where is_opening) as utm_medium,
        max(utm_campaign) filter (where is_opening) as utm_campaign,
        max(click_id_type) filter (where is_opening) as click_id_type
    from numbered
    group by person_id, session_number
)

select
    md5(grouped.landing_event_id) as session_id,
    grouped.person_id,
    grouped.started_at,
    grouped.ended_at,
    grouped.event_count,
    grouped.landing_path,
    grouped.referrer_domain,
    grouped.utm_source,
    grouped.utm_medium,
    grouped.utm_campaign,
    grouped.click_id_type,
    coalesce(matched.channel, 'direct') as channel,
    grouped.landing_event_id,
    grouped.batch_id
from grouped
left join lateral (
    select channel_rules.channel
    from channel_rules
    where
        (channel_rules.click_id_pattern is null
            or grouped.click_id_type ~* channel_rules.click_id_pattern)
        and (channel_rules.source_pattern is null
            or grouped.utm_source ~* channel_rules.source_pattern)
        and (channel_rules.medium_pattern is null
            or grouped.utm_medium ~* channel_rules.medium_pattern)
        and (channel_rules.referrer_pattern is null
            or grouped.referrer_domain ~* channel_rules.referrer_pattern)
    order by channel_rules.position
    limit 1
) as matched on true
