{{ config(materialized='view') }}

-- An id follows its founder: wherever the founding identifier is now, the person is.
select
    ledger.person_id as former_person_id,
    identifiers.person_id
from {{ source('identity', 'person_id_ledger') }} as ledger
inner join {{ ref('person_identifiers') }} as identifiers
    on
        ledger.identifier_type = identifiers.identifier_type
        and ledger.identifier_value = identifiers.identifier_value
