{{ config(
    materialized='incremental',
    incremental_strategy='replace_changed',
    unique_key=['identifier_value', 'identifier_type'],
    indexes=[
        {'columns': ['identifier_value', 'identifier_type'], 'unique': true},
        {'columns': ['person_id']},
    ],
    post_hook="{{ distributed_by('identifier_value') }}",
) }}

with clusters as (
    select * from {{ ref('stg_ml__identity_clusters') }}
),

identifiers as (
    select * from {{ ref('int_identifiers_observed') }}
),

joined as (
    select
        clusters.person_id,
        clusters.identifier_type,
        clusters.identifier_value,
        identifiers.first_seen_at,
        identifiers.last_seen_at,
        coalesce(identifiers.is_shared, false) as is_shared,
        count(*) over (partition by clusters.person_id) as cluster_size_count
    from clusters
    left join identifiers
        on
            clusters.identifier_type = identifiers.identifier_type
            and clusters.identifier_value = identifiers.identifier_value
)

-- A shared identifier links nobody, so it stands alone: that is no person.
select
    person_id,
    identifier_type,
    identifier_value,
    first_seen_at,
    last_seen_at,
    is_shared
from joined
where not (is_shared and cluster_size_count = 1)
