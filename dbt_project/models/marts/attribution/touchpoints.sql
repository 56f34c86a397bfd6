{{ config(
    materialized='incremental',
    incremental_strategy='replace_touched_persons',
    on_schema_change='fail',
    indexes=[{'columns': ['person_id']}],
    post_hook=["{{ distributed_by('person_id') }}", "analyze {{ this }}"],
) }}

with

touched_persons as (
    {{ touched_persons() }}
),

sessions as (
    select * from {{ ref('sessions') }}
),

sets as (
    select * from {{ ref('int_identifier_sets_resolved') }}
),

message_events as (
    select * from {{ ref('int_events_linked') }}
    where message_key is not null
),

messages as (
    select * from {{ ref('stg_delivery__messages') }}
),

programs as (
    select * from {{ ref('program_rewards') }}
),

visits as (
    select
        'visit:' || sessions.session_id as touchpoint_id,
        touched_persons.person_id,
        sessions.started_at as touched_at,
        sessions.channel,
        programs.program,
        sessions.utm_campaign as campaign,
        'visit' as kind,
        0::numeric as cost_amount,
        touched_persons.batch_id
    from touched_persons
    inner join sessions on touched_persons.person_id = sessions.person_id
    left join programs on sessions.utm_campaign = programs.program
),

answered as (
    select
        message_events.event_id,
        touched_persons.person_id,
        message_events.occurred_at,
        message_events.message_key,
        message_events.channel,
        message_events.program,
        case replace(message_events.type, message_events.channel || '_', '')
            when 'delivered' then 'message'
            when 'opened' then 'open'
            when 'clicked' then 'click'
        end as kind,
        row_number() over (
            partition by message_events.message_key, message_events.type
            order by message_events.occurred_at, message_events.event_id
        ) as repetition,
        touched_persons.batch_id
    from touched_persons
    inner join sets on touched_persons.person_id = sets.person_id
    inner join message_events on sets.set_id = message_events.set_id
),

-- A message is a touch once it was delivered: the first report of that counts. Every open and
-- every click is a touch of its own.
answers as (
    select
        answered.kind || ':' || answered.event_id as touchpoint_id,
        answered.person_id,
        answered.occurred_at as touched_at,
        answered.channel,
        answered.program,
        answered.program as campaign,
        answered.kind,
        case answered.kind when 'message' then messages.cost_amount else 0 end as cost_amount,
        answered.batch_id
    from answered
    inner join messages on answered.message_key = messages.message_key
    where
        answered.kind in ('open', 'click')
        or (answered.kind = 'message' and answered.repetition = 1)
),

unioned as (
    select * from visits
    union all
    select * from answers
)

select * from unioned
