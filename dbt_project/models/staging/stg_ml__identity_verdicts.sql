select
    left_type,
    left_value,
    right_type,
    right_value,
    verdict,
    reason
from {{ source('ml', 'identity_verdicts') }}
