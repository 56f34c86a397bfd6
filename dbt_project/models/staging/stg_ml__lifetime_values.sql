select
    person_id,
    as_of,
    horizon_days,
    expected_orders,
    expected_revenue_amount,
    model_version
from {{ source('ml', 'lifetime_values') }}
