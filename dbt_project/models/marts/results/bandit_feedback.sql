with

decisions as (
    select * from {{ ref('int_decisions_measured') }}
    where outcome = 'send'
),

personas as (
    select * from {{ ref('stg_ml__person_personas') }}
),

-- Until its window has passed a decision has no reward: early answers are the happy ones. What
-- has come so far teaches by the share of answers that come by its age.
feedback as (
    select
        decisions.decision_id,
        decisions.program,
        decisions.arm,
        decisions.propensity,
        case
            when decisions.matured_at <= {{ as_of() }}
                then decisions.reward_amount::double precision
        end as reward,
        decisions.matured_at,
        decisions.person_id,
        personas.persona_id,
        decisions.assignment,
        decisions.matured_at <= {{ as_of() }} as is_matured,
        decisions.decided_at,
        decisions.reward_kind,
        decisions.reward_from,
        decisions.rewarded_at,
        decisions.reward_amount::double precision as reward_so_far
    from decisions
    left join personas on decisions.person_id = personas.person_id
)

select * from feedback
