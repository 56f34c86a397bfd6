with

decisions as (
    select * from {{ ref('int_decisions_measured') }}
    where outcome = 'send'
),

personas as (
    select * from {{ ref('stg_ml__person_personas') }}
),

-- Until its window has passed a decision has no reward: early answers are the happy ones.
feedback as (
    select
        decisions.decision_id,
        decisions.program,
        decisions.arm,
        decisions.propensity,
        case
            when decisions.matured_at <= {{ as_of() }}
                then decisions.is_rewarded::integer::double precision
        end as reward,
        decisions.matured_at,
        decisions.person_id,
        personas.persona_id,
        decisions.assignment,
        decisions.matured_at <= {{ as_of() }} as is_matured,
        decisions.decided_at
    from decisions
    left join personas on decisions.person_id = personas.person_id
)

select * from feedback
