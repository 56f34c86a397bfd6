{{ config(materialized='view', contract={'enforced': false}) }}

-- Credited conversions and revenue of each day, with what no touch earned as `unattributed`.
with

conversions as (
    select * from {{ ref('int_person_facts_traced') }}
    where kind = 'conversion' and not is_gone
),

credits as (
    select * from {{ ref('attributed_touchpoints') }}
),

campaigns as (
    select * from {{ ref('int_campaigns_named') }}
),

attribution_models as (
    select * from {{ ref('attribution_models') }}
),

parts as (
    select
        conversions.date,
        credits.model,
        credits.channel,
        credits.campaign,
        conversions.country,
        conversions.persona_id,
        credits.interaction,
        credits.credit_share,
        credits.credited_revenue_amount
    from conversions
    inner join credits on conversions.fact_id = credits.conversion_id
    union all
    select
        conversions.date,
        attribution_models.model,
        'unattributed' as channel,
        null as campaign,
        conversions.country,
        conversions.persona_id,
        null as interaction,
        1 as credit_share,
        conversions.revenue_amount as credited_revenue_amount
    from conversions
    cross join attribution_models
    where
        conversions.touchpoint_ids is null
        or (attribution_models.is_learned and conversions.effects_month is null)
),

grouped as (
    select
        parts.date,
        parts.model,
        parts.channel,
        coalesce(campaigns.campaign_id, parts.campaign) as campaign,
        parts.country,
        parts.persona_id,
        sum(parts.credit_share) as credited_conversions,
        coalesce(sum(parts.credited_revenue_amount), 0) as credited_revenue_amount,
        coalesce(sum(parts.credit_share) filter (where parts.interaction = 'view'), 0)
            as viewed_conversions,
        coalesce(sum(parts.credited_revenue_amount) filter (where parts.interaction = 'view'), 0)
            as viewed_revenue_amount
    from parts
    left join campaigns
        on
            parts.channel = campaigns.channel
            and lower(parts.campaign) = campaigns.utm_campaign
    group by 1, 2, 3, 4, 5, 6
)

select * from grouped
