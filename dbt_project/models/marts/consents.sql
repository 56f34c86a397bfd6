{{ config(materialized='view') }}

select
    person_id,
    channel,
    address_hash,
    scope,
    status,
    regulation,
    recorded_at
from {{ ref('int_consents_recorded') }}
where ended_at is null
