{{ config(materialized='view') }}

select
    person_id,
    min(first_seen_at) as first_seen_at,
    max(last_seen_at) as last_seen_at,
    count(*) as identifier_count
from {{ ref('person_identifiers') }}
group by person_id
