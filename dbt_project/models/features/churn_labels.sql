{{ config(materialized='view') }}

with snapshots as (
    select
        built.person_id,
        built.written_as_of as as_of,
        built.written_as_of
        + make_interval(days => {{ var('churn_window_days') }}) as window_ends_at
    from {{ ref('int_person_features_built') }} as built
    where built.snapshot <> 'latest'
),

sales as (
    select
        person_id,
        ordered_at,
        lag(ordered_at, 1, '-infinity') over (
            partition by person_id order by ordered_at, order_id
        ) as previous_ordered_at
    from {{ ref('orders') }}
    where kind = 'sale' and not is_stock_adjustment and person_id is not null
)

-- The first order after a snapshot is the one whose predecessor lies at or before it.
select
    snapshots.person_id,
    snapshots.as_of,
    sales.ordered_at is null as is_churned
from snapshots
left join sales
    on
        snapshots.person_id = sales.person_id
        and snapshots.as_of >= sales.previous_ordered_at
        and snapshots.as_of < sales.ordered_at
        and snapshots.window_ends_at >= sales.ordered_at
where
    snapshots.window_ends_at <= {{ as_of() }}
    and snapshots.as_of > {{ as_of() }} - make_interval(weeks => {{ var('snapshot_weeks') }})
