with

decisions as (
    select * from {{ ref('stg_delivery__decisions') }}
),

messages as (
    select * from {{ ref('stg_delivery__messages') }}
),

former_persons as (
    select * from {{ ref('int_person_ids_resolved') }}
),

-- A silence is written when its reason appears; it lasts until the next decision.
lasting as (
    select
        coalesce(former_persons.person_id, decisions.person_id) as person_id,
        decisions.program,
        decisions.opportunity_id,
        decisions.reason,
        decisions.outcome,
        decisions.as_of as first_at,
        coalesce(
            lead(decisions.as_of) over (
                partition by decisions.program, decisions.opportunity_id, decisions.step
                order by decisions.as_of, decisions.decision_id
            ),
            decisions.as_of
        ) as last_at
    from decisions
    left join former_persons on decisions.person_id = former_persons.former_person_id
),

-- What was decided and then stopped by the last look before it was sent.
stopped as (
    select
        coalesce(former_persons.person_id, messages.person_id) as person_id,
        messages.program,
        decisions.opportunity_id,
        messages.reason,
        messages.send_at as first_at,
        messages.send_at as last_at
    from messages
    inner join decisions on messages.decision_id = decisions.decision_id
    left join former_persons on messages.person_id = former_persons.former_person_id
    where messages.status = 'skipped'
),

reasons as (
    select
        lasting.person_id,
        lasting.program,
        lasting.opportunity_id,
        lasting.reason,
        lasting.first_at,
        lasting.last_at
    from lasting
    where lasting.outcome = 'silence'
    union all
    select * from stopped
),

silences as (
    select
        reasons.person_id,
        reasons.program,
        reasons.opportunity_id,
        reasons.reason,
        min(reasons.first_at) as first_at,
        max(reasons.last_at) as last_at
    from reasons
    group by reasons.person_id, reasons.program, reasons.opportunity_id, reasons.reason
)

select * from silences
