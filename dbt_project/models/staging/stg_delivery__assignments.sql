select
    person_id,
    program,
    assignment,
    assigned_at,
    contaminated_by
from {{ source('delivery', 'assignments') }}
where assigned_at < {{ as_of() }}
