{{ config(materialized='view', contract={'enforced': false}) }}

with

ad_spend as (
    select * from {{ ref('int_ad_spend_converted') }}
),

campaigns as (
    select * from {{ ref('int_campaigns_named') }}
),

traced as (
    select * from {{ ref('int_person_facts_traced') }}
    where kind = 'visit' and not is_gone
),

campaign_days as (
    select
        ad_spend.date,
        ad_spend.channel,
        ad_spend.campaign_id,
        coalesce(sum(ad_spend.spend_amount), 0) as spend_amount,
        count(*) filter (where ad_spend.spend_amount is null) as unconverted_spend_count
    from ad_spend
    group by 1, 2, 3
),

visits as (
    select
        traced.date,
        campaigns.channel,
        campaigns.campaign_id,
        traced.country,
        traced.persona_id,
        count(*) as visit_count
    from traced
    inner join campaigns
        on
            traced.channel = campaigns.channel
            and lower(traced.campaign) = campaigns.utm_campaign
    group by 1, 2, 3, 4, 5
),

-- Spend follows the visits it bought; a day without a visit keeps its spend, with nobody's name.
joined as (
    select
        campaign_days.date,
        campaign_days.channel,
        campaign_days.campaign_id as campaign,
        visits.country,
        visits.persona_id,
        campaign_days.spend_amount,
        case row_number() over running
            when 1 then campaign_days.unconverted_spend_count
            else 0
        end as unconverted_spend_count,
        coalesce(
            sum(visits.visit_count) over running / sum(visits.visit_count) over whole, 1
        ) as share_until,
        coalesce(
            (sum(visits.visit_count) over running - visits.visit_count)
            / sum(visits.visit_count) over whole,
            0
        ) as share_before
    from campaign_days
    left join visits
        on
            campaign_days.date = visits.date
            and campaign_days.channel = visits.channel
            and campaign_days.campaign_id = visits.campaign_id
    window
        whole as (
            partition by campaign_days.date, campaign_days.channel, campaign_days.campaign_id
        ),
        running as (
            partition by campaign_days.date, campaign_days.channel, campaign_days.campaign_id
            order by visits.country, visits.persona_id
            rows between unbounded preceding and current row
        )
),

-- The difference of two rounded running sums: every part is a whole penny, no penny is lost.
split as (
    select
        joined.date,
        joined.channel,
        joined.campaign,
        joined.country,
        joined.persona_id,
        round(joined.spend_amount * joined.share_until, 2)
        - round(joined.spend_amount * joined.share_before, 2) as spend_amount,
        joined.unconverted_spend_count
    from joined
)

select * from split
