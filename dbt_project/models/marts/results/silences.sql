with

decisions as (
    select * from {{ ref('stg_delivery__decisions') }}
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

silences as (
    select
        lasting.person_id,
        lasting.program,
        lasting.opportunity_id,
        lasting.reason,
        min(lasting.first_at) as first_at,
        max(lasting.last_at) as last_at
    from lasting
    where lasting.outcome = 'silence'
    group by lasting.person_id, lasting.program, lasting.opportunity_id, lasting.reason
)

select * from silences
