select
    cluster_id as person_id,
    identifier_type,
    identifier_value,
    resolution
from {{ source('ml', 'identity_clusters') }}
