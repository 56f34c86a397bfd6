select
    persona_id,
    name,
    description,
    size,
    profile,
    since_at,
    retired_at
from {{ source('ml', 'personas') }}
