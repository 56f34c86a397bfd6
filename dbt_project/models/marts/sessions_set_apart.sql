{{ config(materialized='view') }}

select
    session_id,
    person_id,
    kind,
    started_at,
    ended_at,
    event_count,
    landing_path,
    referrer_domain,
    utm_source,
    utm_medium,
    utm_campaign,
    click_id_type,
    landing_event_id
from {{ ref('int_sessions_opened') }}
where kind <> 'person'
