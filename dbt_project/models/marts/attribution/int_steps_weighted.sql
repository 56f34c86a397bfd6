{{ config(materialized='view', contract={'enforced': false}) }}

-- Every step of every conversion's path with what each rule weighs it by. Windows are parted by
-- change_number too, so that a condition on it reaches the table below them.
with

conversions as (
    select * from {{ ref('int_person_facts_traced') }}
    where kind = 'conversion' and not is_gone and touchpoint_ids is not null
),

effects as (
    select * from {{ ref('stg_ml__channel_removal_effects') }}
),

-- A channel that the month did not know counts as one of its average channels.
means as (
    select
        effects.month,
        avg(effects.removal_effect::numeric) as removal_effect
    from effects
    group by effects.month
),

coalitions as (
    select
        taught.month,
        taught.channels,
        taught.conversion_count::numeric / taught.journey_count as conversion_rate
    from {{ ref('stg_ml__channel_coalitions') }} as taught
),

steps as (
    select
        conversions.fact_id as conversion_id,
        conversions.person_id,
        conversions.happened_at as converted_at,
        conversions.revenue_amount,
        conversions.interaction,
        conversions.effects_month,
        conversions.coalition,
        conversions.change_number,
        cardinality(conversions.channels) as length,
        step.*,
        count(*) over (
            partition by conversions.change_number, conversions.fact_id, step.channel
        ) as channel_touch_count
    from conversions
    cross join
        lateral unnest(
            conversions.touchpoint_ids, conversions.channels, conversions.campaigns,
            conversions.programs, conversions.moments
        ) with ordinality
            as step (touchpoint_id, channel, campaign, program, touched_at, number)
),

-- A channel met twice is removed once: its touches share what it weighs.
weighted as (
    select
        steps.*,
        (steps.channel <> 'direct')::integer as informed,
        power(
            0.5::double precision,
            extract(epoch from steps.converted_at - steps.touched_at)
            / {{ var("attribution_half_life_days", 7) * 86400 }}
        )::numeric as nearness,
        coalesce(effects.removal_effect::numeric, means.removal_effect)
        / steps.channel_touch_count as effect,
        greatest(
            coalesce(whole.conversion_rate, 0) - coalesce(remainder.conversion_rate, 0), 0
        ) / steps.channel_touch_count as contribution
    from steps
    left join effects
        on steps.effects_month = effects.month and steps.channel = effects.channel
    left join means on steps.effects_month = means.month
    left join coalitions as whole
        on steps.effects_month = whole.month and steps.coalition = whole.channels
    left join coalitions as remainder
        on
            steps.effects_month = remainder.month
            and array_remove(steps.coalition, steps.channel) = remainder.channels
)

select * from weighted
