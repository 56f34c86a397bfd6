{{ config(
    materialized='incremental',
    incremental_strategy='replace_changed',
    unique_key='person_id',
    indexes=[{'columns': ['person_id'], 'unique': true}],
    post_hook="{{ distributed_by('person_id') }}",
) }}

select
    person_id,
    min(first_seen_at) as first_seen_at,
    max(last_seen_at) as last_seen_at,
    count(*) as identifier_count
from {{ ref('person_identifiers') }}
group by person_id
