{{ config(
    materialized='incremental',
    incremental_strategy='replace_touched_persons',
    contract={'enforced': false},
    indexes=[{'columns': ['person_id', 'started_at']}, {'columns': ['batch_id']}],
    post_hook="{{ distributed_by('person_id') }}",
) }}

with touched as (
    {{ touched_persons() }}
),

sets as (
    select * from {{ ref('int_identifier_sets_resolved') }}
),

events as (
    select * from {{ ref('int_events_linked') }}
),

visits as (
    select
        events.*,
        touched.person_id,
        touched.batch_id as touched_batch_id,
        nullif(concat_ws(
            chr(31), events.utm_source, events.utm_medium, events.utm_campaign, events.click_id_type
        ), '') as campaign
    from touched
    inner join sets on touched.person_id = sets.person_id
    inner join events on sets.set_id = events.set_id
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
        max(page_url) filter (where is_opening) as landing_url,
        max(referrer_url) filter (where is_opening) as referrer_url,
        max(utm_source) filter (where is_opening) as utm_source,
        max(utm_medium) filter (where is_opening) as utm_medium,
        max(utm_campaign) filter (where is_opening) as utm_campaign,
        max(click_id_type) filter (where is_opening) as click_id_type
    from numbered
    group by person_id, session_number
)

select
    md5(landing_event_id) as session_id,
    person_id,
    started_at,
    ended_at,
    event_count,
    {{ url_path('landing_url') }} as landing_path,
    -- A page of the site itself brings nobody.
    nullif({{ url_domain('referrer_url') }}, {{ url_domain('landing_url') }}) as referrer_domain,
    utm_source,
    utm_medium,
    utm_campaign,
    click_id_type,
    landing_event_id,
    batch_id
from grouped
