with

credits as (
    select * from {{ ref('int_credits_grouped') }}
),

costs as (
    select * from {{ ref('int_ad_costs_split') }}
),

attribution_models as (
    select * from {{ ref('attribution_models') }}
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
        credits.credited_conversions,
        credits.credited_revenue_amount
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
        0::numeric as credited_conversions,
        0::numeric as credited_revenue_amount
    from costs
    cross join attribution_models
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
        sum(unioned.credited_conversions) as credited_conversions,
        sum(unioned.credited_revenue_amount) as credited_revenue_amount
    from unioned
    group by 1, 2, 3, 4, 5, 6
),

performance as (
    select
        summed.*,
        round(summed.spend_amount / nullif(summed.credited_conversions, 0), 2) as cac_amount,
        round(summed.credited_revenue_amount / nullif(summed.spend_amount, 0), 4) as roas
    from summed
)

select * from performance
