{{ config(
    materialized='incremental',
    incremental_strategy='replace_touched_persons',
    on_schema_change='fail',
    indexes=[{'columns': ['person_id']}],
    pre_hook="set local enable_nestloop = off",
    post_hook=["{{ distributed_by('person_id') }}", "analyze {{ this }}"],
) }}
{%- set edge = var('attribution_edge_share', 0.4) %}

with

touched_persons as (
    {{ touched_persons() }}
),

-- An array, not a join: only a constant condition reaches the tables below the windows. The planner
-- takes an array of unknown length for ten persons and would loop over all pairs on a busy day;
-- hence no nested loops here.
numbered as (
    select * from {{ ref('int_paths_numbered') }}
    {% if is_incremental() %}
    where person_id = any(array(select touched_persons.person_id from touched_persons))
    {% endif %}
),

-- What the path has earned before this touch and after it. Rounding these two, not their
-- difference, makes the parts of every conversion add up to the last penny.
earned as (
    select
        step.*,
        models.model,
        models.share_before,
        models.share_after
    from numbered as step
    cross join
        lateral (
            values
            ('first_touch', (step.number > 1)::integer::numeric, 1::numeric),
            ('last_touch', 0, (step.number = step.length)::integer),
            (
                'last_non_direct',
                0,
                (case
                    when step.informed_total = 0 then step.number = step.length
                    else step.is_informed = 1 and step.informed_until = step.informed_total
                end)::integer
            ),
            (
                'linear',
                (step.number - 1)::numeric / step.length,
                step.number::numeric / step.length
            ),
            (
                'time_decay',
                (step.weight_until - step.weight) / step.weight_total,
                step.weight_until / step.weight_total
            ),
            (
                'position_based',
                case
                    when step.number = 1 then 0
                    when step.length = 2 then 0.5
                    else
                        {{ edge }}
                        + (1 - 2 * {{ edge }}) * (step.number - 2)::numeric / (step.length - 2)
                end,
                case
                    when step.number = step.length then 1
                    when step.length = 2 then 0.5
                    else
                        {{ edge }}
                        + (1 - 2 * {{ edge }}) * (step.number - 1)::numeric / (step.length - 2)
                end
            )
        ) as models (model, share_before, share_after)
    where models.share_after > models.share_before
),

attributed as (
    select
        earned.model,
        earned.conversion_id,
        earned.touchpoint_id,
        earned.person_id,
        earned.channel,
        earned.campaign,
        earned.touched_at,
        earned.converted_at,
        round(earned.share_after, 12) - round(earned.share_before, 12) as credit_share,
        case
            when earned.share_after = 1 then earned.revenue_amount
            else round(earned.revenue_amount * earned.share_after, 2)
        end
        - round(earned.revenue_amount * earned.share_before, 2) as credited_revenue_amount,
        earned.program,
        touched_persons.batch_id
    from earned
    inner join touched_persons on earned.person_id = touched_persons.person_id
)

select * from attributed
