select
    source,
    identifier_type,
    identifier_value,
    channel,
    scope,
    status,
    regulation,
    recorded_at,
    batch_id
from {{ source('raw', 'crm_consents') }}
where recorded_at <= {{ as_of() }}
