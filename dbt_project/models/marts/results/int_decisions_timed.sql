{{ config(materialized='view', contract={'enforced': false}) }}

with

decisions as (
    select * from {{ ref('stg_delivery__decisions') }}
),

messages as (
    select * from {{ ref('int_messages_answered') }}
),

former_persons as (
    select * from {{ ref('int_person_ids_resolved') }}
),

rewards as (
    select * from {{ ref('program_rewards') }}
),

-- An opportunity is one unit however often its silence changed reason: its clock starts once,
-- so that sent and held-out opportunities are watched for equally long.
known as (
    select
        decisions.decision_id,
        decisions.program,
        coalesce(former_persons.person_id, decisions.person_id) as person_id,
        decisions.opportunity_id,
        decisions.step,
        decisions.assignment,
        decisions.arm,
        decisions.propensity,
        decisions.outcome,
        decisions.as_of as decided_at,
        min(decisions.as_of) over opportunity as opened_at,
        row_number() over (
            partition by decisions.program, decisions.opportunity_id, decisions.step
            order by decisions.outcome = 'send' desc, decisions.as_of, decisions.decision_id
        ) = 1 as is_counted
    from decisions
    left join former_persons on decisions.person_id = former_persons.former_person_id
    window opportunity as (
        partition by decisions.program, decisions.opportunity_id, decisions.step
    )
),

timed as (
    select
        known.*,
        rewards.reward as reward_kind,
        messages.sent_at,
        messages.opened_at as message_opened_at,
        messages.clicked_at,
        coalesce(messages.sent_at, messages.send_at, known.decided_at) as reward_from,
        coalesce(messages.sent_at, messages.send_at, known.decided_at)
        + make_interval(days => rewards.window_days) as matured_at,
        known.opened_at
        + interval '{{ var("result_window_days", 7) }} days' as measured_at
    from known
    inner join rewards on known.program = rewards.program
    left join messages on known.decision_id = messages.decision_id
)

select * from timed
