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

channel_rules as (
    select * from {{ ref('channel_rules') }}
),

opened as (
    select
        opened.*,
        concat_ws(
            chr(31), coalesce(opened.click_id_type, ''), coalesce(opened.utm_source, ''),
            coalesce(opened.utm_medium, ''), coalesce(opened.referrer_domain, '')
        ) as arrival
    from touched
    inner join {{ ref('int_sessions_opened') }} as opened
        on touched.person_id = opened.person_id
    where opened.kind = 'person'
),

-- Visits arrive in few ways, so each way is judged once.
arrivals as (
    select distinct
        arrival,
        click_id_type,
        utm_source,
        utm_medium,
        referrer_domain
    from opened
),

judged as (
    select distinct on (arrivals.arrival)
        arrivals.arrival,
        channel_rules.channel
    from arrivals
    inner join channel_rules
        on
            (
                channel_rules.click_id_pattern is null
                or arrivals.click_id_type ~* channel_rules.click_id_pattern
            )
            and (
                channel_rules.source_pattern is null
                or arrivals.utm_source ~* channel_rules.source_pattern
            )
            and (
                channel_rules.medium_pattern is null
                or arrivals.utm_medium ~* channel_rules.medium_pattern
            )
            and (
                channel_rules.referrer_pattern is null
                or arrivals.referrer_domain ~* channel_rules.referrer_pattern
            )
    order by arrivals.arrival, channel_rules.position
)

select
    opened.session_id,
    opened.person_id,
    opened.started_at,
    opened.ended_at,
    opened.event_count,
    opened.landing_path,
    opened.referrer_domain,
    opened.utm_source,
    opened.utm_medium,
    opened.utm_campaign,
    opened.click_id_type,
    coalesce(judged.channel, 'direct') as channel,
    opened.landing_event_id,
    opened.batch_id
from opened
left join judged on opened.arrival = judged.arrival
