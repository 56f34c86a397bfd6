select
    count(*)::float8 as row_count,
    extract(epoch from %(as_of)s - max(events.received_at))::float8 / 3600 as age_hours,
    avg((events.message_key is null)::int)::float8 as without_message_share,
    avg((events.message_key is not null and not exists (
        select from delivery.messages where messages.message_key = events.message_key
    ))::int)::float8 as unknown_message_share,
    count(*) filter (where events.type not in (
        'processed', 'delivered', 'deferred', 'bounce', 'soft_bounce', 'dropped', 'open',
        'machine_open', 'click', 'complaint', 'unsubscribe', 'resubscribe', 'sent', 'failed',
        'undelivered', 'reply', 'received'
    ))::float8 as unknown_type_count
from raw.provider_events as events
where
    events.batch_id between %(first)s and %(last)s
    and events.batch_id = any(%(batches)s)
