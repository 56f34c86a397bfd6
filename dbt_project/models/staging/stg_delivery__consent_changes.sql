select
    channel,
    address_hash,
    scope,
    status,
    source,
    recorded_at
from {{ source('delivery', 'consent_changes') }}
where recorded_at <= {{ as_of() }}
