select
    workspace,
    as_of,
    previous_as_of,
    currency,
    time_zone,
    country
from {{ source('raw', 'workspace') }}
-- There is one row; the limit tells the planner, who would guess hundreds.
order by is_only
limit 1
