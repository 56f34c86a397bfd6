select
    provider,
    provider_event_id,
    message_key,
    type,
    occurred_at,
    received_at,
    batch_id,
    payload ->> 'url' as url
from {{ source('raw', 'provider_events') }}
where occurred_at <= {{ as_of() }}
