{{ config(materialized='view', contract={'enforced': false}) }}

with

conversions as (
    select * from {{ ref('int_conversions_valued') }}
),

steps as (
    select * from {{ ref('int_touches_stepped') }}
),

candidates as (
    select
        conversions.conversion_id,
        conversions.converted_at,
        conversions.date,
        conversions.revenue_amount,
        steps.touchpoint_id,
        steps.person_id,
        steps.channel,
        steps.campaign,
        steps.program,
        steps.touched_at,
        steps.interaction,
        bool_or(steps.interaction = 'click') over (
            partition by steps.person_id, conversions.conversion_id
        ) as is_clicked
    from conversions
    inner join steps
        on
            conversions.person_id = steps.person_id
            and conversions.converted_at >= steps.touched_at
            and conversions.converted_at <= steps.touched_at + steps.look_back
),

-- Views make a path only where nobody clicked; number: place of the touch, 1 = first.
numbered as (
    select
        candidates.*,
        row_number() over (
            partition by candidates.person_id, candidates.conversion_id
            order by candidates.touched_at, candidates.touchpoint_id
        ) as number,
        count(*) over (partition by candidates.person_id, candidates.conversion_id) as length
    from candidates
    where candidates.is_clicked = (candidates.interaction = 'click')
)

select * from numbered
