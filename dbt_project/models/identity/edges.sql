{{ config(materialized='view') }}

with observed as (
    select * from {{ ref('int_edges_observed') }}
),

verdicts as (
    select * from {{ ref('stg_ml__identity_verdicts') }}
)

select
    verdicts.left_type,
    verdicts.left_value,
    verdicts.right_type,
    verdicts.right_value,
    coalesce(observed.evidence_count, 0) as evidence_count,
    observed.first_seen_at,
    observed.last_seen_at,
    verdicts.verdict,
    verdicts.reason
from verdicts
left join observed
    on
        verdicts.left_type = observed.left_type
        and verdicts.left_value = observed.left_value
        and verdicts.right_type = observed.right_type
        and verdicts.right_value = observed.right_value
