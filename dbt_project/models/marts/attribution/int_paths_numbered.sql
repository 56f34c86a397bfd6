{{ config(materialized='view', contract={'enforced': false}) }}

with

conversions as (
    select * from {{ ref('orders') }}
    where kind = 'sale' and person_id is not null
),

touchpoints as (
    select * from {{ ref('touchpoints') }}
    where kind in ('visit', 'click')
),

-- One contact leaves several traces: a click and, a moment later, the visit it starts.
-- Of the same channel and campaign only the first trace within the gap is a step of a path.
traces as (
    select
        touchpoints.*,
        touchpoints.touched_at - lag(touchpoints.touched_at) over (
            partition by touchpoints.person_id, touchpoints.channel, touchpoints.campaign
            order by touchpoints.touched_at, touchpoints.touchpoint_id
        ) <= interval '{{ var("attribution_gap_minutes", 30) }} minutes' as is_repeated
    from touchpoints
),

paths as (
    select
        conversions.order_id as conversion_id,
        conversions.ordered_at as converted_at,
        conversions.revenue_amount,
        traces.touchpoint_id,
        traces.person_id,
        traces.channel,
        traces.campaign,
        traces.program,
        traces.touched_at,
        (traces.channel <> 'direct')::integer as is_informed,
        power(
            0.5::double precision,
            extract(epoch from conversions.ordered_at - traces.touched_at)
            / {{ var("attribution_half_life_days", 7) * 86400 }}
        )::numeric as weight
    from conversions
    inner join traces
        on
            conversions.person_id = traces.person_id
            and conversions.ordered_at >= traces.touched_at
            and conversions.ordered_at
            <= traces.touched_at + interval '{{ var("attribution_look_back_days", 30) }} days'
    where traces.is_repeated is not true
),

-- number: place of the touch, 1 = first; length: of the path; until: running sums.
numbered as (
    select
        paths.*,
        row_number() over until_now as number,
        count(*) over whole as length,
        sum(paths.is_informed) over until_now as informed_until,
        sum(paths.is_informed) over whole as informed_total,
        sum(paths.weight) over until_now as weight_until,
        sum(paths.weight) over whole as weight_total
    from paths
    window
        whole as (partition by paths.person_id, paths.conversion_id),
        until_now as (
            partition by paths.person_id, paths.conversion_id
            order by paths.touched_at, paths.touchpoint_id
            rows between unbounded preceding and current row
        )
)

select * from numbered
