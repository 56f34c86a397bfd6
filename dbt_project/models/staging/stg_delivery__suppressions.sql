select
    channel,
    address_hash,
    reason,
    since_at
from {{ source('delivery', 'suppressions') }}
where since_at <= {{ as_of() }}
