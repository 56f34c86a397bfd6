{{ config(
    materialized='incremental',
    incremental_strategy='replace_traced',
    unique_key='conversion_id',
    on_schema_change='fail',
    indexes=[
        {'columns': ['person_id']},
        {'columns': ['conversion_id']},
        {'columns': ['change_number']},
    ],
) }}
{%- set edge = var('attribution_edge_share', 0.4) %}

-- depends_on: {{ ref('int_person_facts_traced') }}

with

steps as (
    select * from {{ ref('int_steps_weighted') }}
    {%- if is_incremental() %}
    where {{ newly_traced() }}
    {%- endif %}
),

summed as (
    select
        steps.*,
        sum(steps.informed) over until_now as informed_until,
        sum(steps.informed) over whole as informed_total,
        sum(steps.nearness) over until_now / sum(steps.nearness) over whole as nearness_share,
        sum(steps.effect) over until_now / nullif(sum(steps.effect) over whole, 0)
            as effect_share,
        sum(steps.contribution) over until_now / nullif(sum(steps.contribution) over whole, 0)
            as contribution_share,
        (steps.number = steps.length)::integer as last_share
    from steps
    window
        whole as (partition by steps.conversion_id),
        until_now as (
            partition by steps.conversion_id
            order by steps.number
            rows between unbounded preceding and current row
        )
),

-- The part of the conversion that is earned up to this touch, under each model. Where a model that
-- learns finds nothing to weigh, the last touch takes all.
earned as (
    select
        summed.*,
        models.model,
        models.share_until
    from summed
    cross join
        lateral (
            values
            ('first_touch', 1::numeric),
            ('last_touch', summed.last_share),
            (
                'last_non_direct',
                case
                    when summed.informed_total = 0 then summed.last_share
                    else (summed.informed_until = summed.informed_total)::integer
                end
            ),
            ('linear', summed.number::numeric / summed.length),
            ('time_decay', summed.nearness_share),
            (
                'position_based',
                case
                    when summed.number = summed.length then 1
                    when summed.length = 2 then 0.5
                    else
                        {{ edge }}
                        + (1 - 2 * {{ edge }}) * (summed.number - 1)::numeric
                        / (summed.length - 2)
                end
            ),
            ('markov', coalesce(summed.effect_share, summed.last_share)),
            ('shapley', coalesce(summed.contribution_share, summed.last_share))
        ) as models (model, share_until)
    where summed.effects_month is not null or models.model not in ('markov', 'shapley')
),

-- Rounding what is earned up to a touch, and not what the touch adds, makes the parts of every
-- conversion add up to exactly 1 and to the last penny.
shared as (
    select
        earned.*,
        round(earned.share_until, 12)
        - lag(round(earned.share_until, 12), 1, 0::numeric) over by_number as credit_share,
        round(earned.revenue_amount * earned.share_until, 2)
        - lag(round(earned.revenue_amount * earned.share_until, 2), 1, 0::numeric) over by_number
            as credited_revenue_amount
    from earned
    window by_number as (partition by earned.conversion_id, earned.model order by earned.number)
)

select
    shared.model,
    shared.conversion_id,
    shared.touchpoint_id,
    shared.person_id,
    shared.channel,
    shared.campaign,
    shared.touched_at,
    shared.converted_at,
    shared.credit_share,
    shared.credited_revenue_amount,
    shared.program,
    shared.interaction,
    shared.change_number
from shared
where shared.credit_share > 0
