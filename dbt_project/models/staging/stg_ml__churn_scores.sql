select
    person_id,
    as_of,
    churn_probability,
    reasons,
    model_version
from {{ source('ml', 'churn_scores') }}
