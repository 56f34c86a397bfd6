select
    conversion_id,
    platform,
    event_id,
    status,
    attempts,
    uploaded_at
from {{ source('delivery', 'conversion_uploads') }}
where uploaded_at < {{ as_of() }}
