select
    plan_id,
    as_of,
    platform,
    campaign_id,
    previous_amount,
    proposed_amount,
    approved_amount,
    currency,
    status,
    reason
from {{ source('delivery', 'budget_plans') }}
where as_of < {{ as_of() }}
