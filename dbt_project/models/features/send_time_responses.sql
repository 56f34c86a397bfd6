{{ config(
    materialized='incremental',
    incremental_strategy='replace_touched_persons',
    indexes=[
        {'columns': ['person_id', 'channel', 'hour_of_week'], 'unique': true},
        {'columns': ['batch_id']},
    ],
    post_hook="{{ distributed_by('person_id') }}",
) }}

with touched as (
    {{ touched_persons() }}
),

zones as (
    select
        touched.person_id,
        touched.batch_id,
        coalesce(profiles.time_zone, {{ workspace_time_zone() }}) as time_zone
    from touched
    left join {{ ref('profiles') }} as profiles on touched.person_id = profiles.person_id
),

message_events as (
    select resolved.*
    from touched
    inner join {{ ref('int_events_resolved') }} as resolved
        on touched.person_id = resolved.person_id
    where resolved.message_key is not null
),

messages as (
    select * from {{ ref('stg_delivery__messages') }}
),

-- A message counts once it was delivered, and once however often it was opened.
delivered as (
    select
        message_events.person_id,
        message_events.channel,
        coalesce(messages.sent_at, min(message_events.occurred_at)) as moment,
        bool_or(message_events.type in ('email_opened', 'email_clicked', 'sms_clicked'))
            as is_answered
    from message_events
    inner join messages on message_events.message_key = messages.message_key
    group by
        message_events.person_id, message_events.channel, message_events.message_key,
        messages.sent_at
    having bool_or(message_events.type in ('email_delivered', 'sms_delivered'))
),

visited as (
    select
        sessions.person_id,
        'web' as channel,
        sessions.started_at as moment,
        true as is_answered
    from touched
    inner join {{ ref('sessions') }} as sessions on touched.person_id = sessions.person_id
),

localised as (
    select
        moments.*,
        zones.batch_id,
        moments.moment at time zone zones.time_zone as local_moment
    from (
        select * from delivered
        union all
        select * from visited
    ) as moments
    inner join zones on moments.person_id = zones.person_id
)

select
    person_id,
    channel,
    ((extract(isodow from local_moment) - 1) * 24 + extract(hour from local_moment))::integer
        as hour_of_week,
    count(*) as sends,
    count(*) filter (where is_answered) as responses,
    max(batch_id) as batch_id
from localised
group by person_id, channel, hour_of_week
