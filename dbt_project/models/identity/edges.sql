{{ config(materialized='view') }}

with observed as (
    select * from {{ ref('int_edges_observed') }}
),

verdicts as (
    select * from {{ ref('stg_ml__identity_verdicts') }}
)

-- A verdict is kept where it is not simply "accepted".
select
    observed.left_type,
    observed.left_value,
    observed.right_type,
    observed.right_value,
    observed.evidence_count,
    observed.first_seen_at,
    observed.last_seen_at,
    coalesce(verdicts.verdict, 'accepted') as verdict,
    verdicts.reason
from observed
left join verdicts
    on
        observed.left_type = verdicts.left_type
        and observed.left_value = verdicts.left_value
        and observed.right_type = verdicts.right_type
        and observed.right_value = verdicts.right_value
union all
-- What only a rule joins.
select
    verdicts.left_type,
    verdicts.left_value,
    verdicts.right_type,
    verdicts.right_value,
    0,
    null,
    null,
    verdicts.verdict,
    verdicts.reason
from verdicts
where
    not exists (
        select 1
        from {{ ref('int_identifier_pairs_counted') }} as pairs
        where
            pairs.left_type = verdicts.left_type
            and pairs.left_value = verdicts.left_value
            and pairs.right_type = verdicts.right_type
            and pairs.right_value = verdicts.right_value
    )
