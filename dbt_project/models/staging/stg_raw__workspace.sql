select
    workspace,
    as_of,
    previous_as_of,
    currency,
    time_zone,
    country
from {{ source('raw', 'workspace') }}
