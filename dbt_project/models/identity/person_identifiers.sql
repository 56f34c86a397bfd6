{{ config(materialized='view') }}

-- No CTE here: Postgres would plan the view by itself, and read everybody for one person.
select
    clusters.person_id,
    clusters.identifier_type,
    clusters.identifier_value,
    identifiers.first_seen_at,
    identifiers.last_seen_at,
    coalesce(identifiers.is_shared, false) as is_shared
from {{ ref('stg_ml__identity_clusters') }} as clusters
left join {{ ref('int_identifiers_observed') }} as identifiers
    on
        clusters.identifier_type = identifiers.identifier_type
        and clusters.identifier_value = identifiers.identifier_value
where clusters.person_id is not null
