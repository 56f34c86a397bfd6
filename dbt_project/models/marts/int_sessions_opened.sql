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
        events.event_id,
        events.occurred_at,
        events.is_bot,
        events.page_url,
        events.referrer_url,
        events.utm_source,
        events.utm_medium,
        events.utm_campaign,
        events.click_id_type,
        touched.person_id,
        touched.batch_id,
        nullif(concat_ws(
            chr(31), events.utm_source, events.utm_medium, events.utm_campaign, events.click_id_type
        ), '') as campaign
    from touched
    inner join sets on touched.person_id = sets.person_id
    inner join events on sets.set_id = events.set_id
    where events.is_visit
),

-- What machines do under a person's identifiers does not interrupt the person's own visits. All
-- windows have one order, so that all of a person's history is sorted once.
paused as (
    select
        visits.*,
        row_number() over moments as place,
        coalesce(
            occurred_at - lag(occurred_at) over moments
            > make_interval(mins => {{ var('session_gap_minutes') }}),
            true
        ) as is_after_pause
    from visits
    window moments as (partition by person_id, is_bot order by occurred_at, event_id)
),

-- The last campaign before an event, with its place in front to be the highest.
preceded as (
    select
        paused.*,
        max(place) filter (where is_after_pause) over moments as pause_place,
        max(lpad(place::text, 10, '0') || campaign) over (
            moments rows between unbounded preceding and 1 preceding
        ) as campaign_before
    from paused
    window moments as (partition by person_id, is_bot order by occurred_at, event_id)
),

-- A pause opens a session, and so does another campaign than the last since the pause.
opened as (
    select
        preceded.*,
        is_after_pause or (
            campaign is not null and (
                campaign_before is null
                or left(campaign_before, 10)::bigint < pause_place
                or substr(campaign_before, 11) <> campaign
            )
        ) as is_opening
    from preceded
),

numbered as (
    select
        opened.*,
        count(*) filter (where is_opening) over (
            partition by person_id, is_bot order by occurred_at, event_id
        ) as session_number
    from opened
),

grouped as (
    select
        person_id,
        is_bot,
        session_number,
        min(batch_id) as batch_id,
        min(occurred_at) as started_at,
        max(occurred_at) as ended_at,
        count(*) as event_count,
        max(event_id) filter (where is_opening) as landing_event_id,
        max(page_url) filter (where is_opening) as landing_url,
        max(referrer_url) filter (where is_opening) as referrer_url,
        {%- for utm in ['utm_source', 'utm_medium', 'utm_campaign'] %}
        -- a link that carries somebody's mail address names nothing
        max({{ utm }}) filter (where is_opening and {{ utm }} not like '%@%') as {{ utm }},
        {%- endfor %}
        max(click_id_type) filter (where is_opening) as click_id_type
    from numbered
    group by person_id, is_bot, session_number
)

select
    md5(landing_event_id) as session_id,
    person_id,
    case
        when is_bot then 'bot'
        when
            event_count > {{ var('runaway_session_event_count') }}
            or ended_at - started_at > make_interval(hours => {{ var('runaway_session_hours') }})
            or (
                event_count >= {{ var('runaway_burst_event_count') }}
                and event_count > {{ var('runaway_events_per_minute') }}
                * extract(epoch from ended_at - started_at) / 60
            )
            then 'runaway'
        else 'person'
    end as kind,
    started_at,
    ended_at,
    event_count,
    {{ without_addresses(url_path('landing_url')) }} as landing_path,
    -- A page of the site itself brings nobody.
    nullif({{ url_domain('referrer_url') }}, {{ url_domain('landing_url') }}) as referrer_domain,
    utm_source,
    utm_medium,
    utm_campaign,
    click_id_type,
    landing_event_id,
    batch_id
from grouped
