select
    batch_id,
    source,
    status
from {{ source('raw', 'batches') }}
