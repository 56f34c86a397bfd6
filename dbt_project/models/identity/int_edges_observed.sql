{{ config(materialized='view') }}

with pairs as (
    select * from {{ ref('int_identifier_pairs_counted') }}
),

flagged as (
    select * from {{ ref('int_identifiers_observed') }}
    where reason is not null
)

select
    pairs.left_type,
    pairs.left_value,
    pairs.right_type,
    pairs.right_value,
    pairs.evidence_count,
    pairs.first_seen_at,
    pairs.last_seen_at,
    least(flagged_left.reason, flagged_right.reason) as reason,
    pairs.revision
from pairs
left join flagged as flagged_left
    on
        pairs.left_type = flagged_left.identifier_type
        and pairs.left_value = flagged_left.identifier_value
left join flagged as flagged_right
    on
        pairs.right_type = flagged_right.identifier_type
        and pairs.right_value = flagged_right.identifier_value
where (pairs.left_type, pairs.left_value) <> (pairs.right_type, pairs.right_value)
