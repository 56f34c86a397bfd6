{{ config(materialized='view', contract={'enforced': false}) }}

with

steps as (
    select
        stepped.*,
        date_trunc('month', stepped.touched_at at time zone {{ workspace_time_zone() }})::date
            as month
    from {{ ref('int_touches_stepped') }} as stepped
    where stepped.interaction = 'click'
),

numbered as (
    select * from {{ ref('int_paths_numbered') }}
    where interaction = 'click'
),

conversions as (
    select * from {{ ref('int_conversions_valued') }}
),

converted as (
    select
        date_trunc('month', numbered.date)::date as month,
        array_agg(numbered.channel order by numbered.number) as path
    from numbered
    group by numbered.person_id, numbered.conversion_id, numbered.date
),

last_conversions as (
    select
        conversions.person_id,
        date_trunc('month', conversions.date)::date as month,
        max(conversions.converted_at) as converted_at
    from conversions
    group by conversions.person_id, date_trunc('month', conversions.date)
),

-- What a person did in the month after the last conversion in it led to none, as far as the
-- month can tell on the day it closes.
unconverted as (
    select
        steps.month,
        array_agg(steps.channel order by steps.touched_at, steps.touchpoint_id) as path
    from steps
    left join last_conversions
        on steps.person_id = last_conversions.person_id and steps.month = last_conversions.month
    where steps.touched_at > coalesce(last_conversions.converted_at, '-infinity')
    group by steps.person_id, steps.month
),

unioned as (
    select
        converted.month,
        converted.path,
        1 as conversion_count,
        0 as null_count
    from converted
    union all
    select
        unconverted.month,
        unconverted.path,
        0 as conversion_count,
        1 as null_count
    from unconverted
),

counted as (
    select
        unioned.month,
        unioned.path,
        sum(unioned.conversion_count)::bigint as conversion_count,
        sum(unioned.null_count)::bigint as null_count
    from unioned
    group by unioned.month, unioned.path
)

select * from counted
