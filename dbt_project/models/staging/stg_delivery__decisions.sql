select
    decision_id,
    as_of,
    program,
    person_id,
    opportunity_id,
    step,
    assignment,
    arm,
    propensity,
    outcome,
    reason,
    model_versions
from {{ source('delivery', 'decisions') }}
where as_of < {{ as_of() }}
