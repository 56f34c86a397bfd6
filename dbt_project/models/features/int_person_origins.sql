{{ config(materialized='view', contract={'enforced': false}) }}

with persons as (
    select * from {{ ref('persons') }}
),

marks as (
    select * from {{ ref('int_persons_touched') }}
),

accumulated as not materialized (
    select * from {{ ref('int_person_days_accumulated') }}
),

sessions as (
    select * from {{ ref('sessions') }}
),

profiles as (
    select * from {{ ref('profiles') }}
)

select
    persons.person_id,
    persons.first_seen_at,
    profiles.country,
    first_order.first_order_at,
    first_session.started_at as first_session_at,
    first_session.channel as first_channel,
    coalesce(marks.batch_id, 0) as batch_id
from persons
left join marks on persons.person_id = marks.person_id
left join profiles on persons.person_id = profiles.person_id
left join lateral (
    select accumulated.first_order_at
    from accumulated
    where accumulated.person_id = persons.person_id
    order by accumulated.date desc
    limit 1
) as first_order on true
left join lateral (
    select sessions.started_at, sessions.channel
    from sessions
    where sessions.person_id = persons.person_id
    order by sessions.started_at, sessions.session_id
    limit 1
) as first_session on true
