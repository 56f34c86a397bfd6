{{ config(
    materialized='incremental',
    incremental_strategy='replace_changed_days',
    unique_key='date',
    on_schema_change='fail',
    indexes=[
        {'columns': ['date']},
        {'columns': ['change_number']},
        {'columns': ['spend_batch_id']},
    ],
) }}

-- depends_on: {{ ref('int_campaigns_named') }}

with
{%- if is_incremental() %}
-- An array, not a join: only a constant condition reaches the tables below the sums.
days as (
    {{ changed_days() }}
),
{%- endif %}

credits as (
    select * from {{ ref('int_credits_grouped') }}
    {%- if is_incremental() %}
    where date = any(array(select days.date from days))
    {%- endif %}
),

costs as (
    select * from {{ ref('int_ad_costs_split') }}
    {%- if is_incremental() %}
    where date = any(array(select days.date from days))
    {%- endif %}
),

unioned as (
    select
        credits.date,
        credits.model,
        credits.channel,
        credits.campaign,
        credits.country,
        credits.persona_id,
        0::numeric as spend_amount,
        0 as unconverted_spend_count,
        credits.credited_conversions,
        credits.credited_revenue_amount,
        credits.viewed_conversions,
        credits.viewed_revenue_amount
    from credits
    union all
    select
        costs.date,
        attribution_models.model,
        costs.channel,
        costs.campaign,
        costs.country,
        costs.persona_id,
        costs.spend_amount,
        costs.unconverted_spend_count,
        0 as credited_conversions,
        0 as credited_revenue_amount,
        0 as viewed_conversions,
        0 as viewed_revenue_amount
    from costs
    cross join {{ ref('attribution_models') }} as attribution_models
),

summed as (
    select
        unioned.date,
        unioned.model,
        unioned.channel,
        unioned.campaign,
        unioned.country,
        unioned.persona_id,
        sum(unioned.spend_amount) as spend_amount,
        sum(unioned.unconverted_spend_count)::bigint as unconverted_spend_count,
        sum(unioned.credited_conversions) as credited_conversions,
        sum(unioned.credited_revenue_amount) as credited_revenue_amount,
        sum(unioned.viewed_conversions) as viewed_conversions,
        sum(unioned.viewed_revenue_amount) as viewed_revenue_amount
    from unioned
    group by 1, 2, 3, 4, 5, 6
)

select
    summed.*,
    round(summed.spend_amount / nullif(summed.credited_conversions, 0), 2) as cac_amount,
    round(summed.credited_revenue_amount / nullif(summed.spend_amount, 0), 4) as roas,
    (select max(traced.change_number) from {{ ref('int_person_facts_traced') }} as traced)
        as change_number,
    (select max(spent.batch_id) from {{ ref('int_ad_spend_converted') }} as spent)
        as spend_batch_id
from summed
