{{ config(materialized='view', contract={'enforced': false}) }}

-- No CTE here, so that a query for a few persons looks up those only.
select
    persons.person_id,
    persons.first_seen_at,
    profiles.country,
    first_order.first_order_at,
    first_session.started_at as first_session_at,
    first_session.channel as first_channel,
    coalesce(marks.batch_id, 0) as batch_id
from {{ ref('persons') }} as persons
left join {{ ref('int_persons_touched') }} as marks on persons.person_id = marks.person_id
left join {{ ref('profiles') }} as profiles on persons.person_id = profiles.person_id
left join lateral (
    select accumulated.first_order_at
    from {{ ref('int_person_days_accumulated') }} as accumulated
    where accumulated.person_id = persons.person_id
    order by accumulated.date desc
    limit 1
) as first_order on true
left join lateral (
    select
        sessions.started_at,
        sessions.channel
    from {{ ref('sessions') }} as sessions
    where sessions.person_id = persons.person_id
    order by sessions.started_at, sessions.session_id
    limit 1
) as first_session on true
