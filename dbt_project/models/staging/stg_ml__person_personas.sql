select
    person_id,
    persona_id,
    membership_probability,
    as_of
from {{ source('ml', 'person_personas') }}
