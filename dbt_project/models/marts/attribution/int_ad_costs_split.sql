{{ config(materialized='view', contract={'enforced': false}) }}

with

ad_spend as (
    select * from {{ ref('int_ad_spend_converted') }}
),

campaigns as (
    select * from {{ ref('int_campaigns_named') }}
),

touchpoints as (
    select * from {{ ref('touchpoints') }}
    where kind = 'visit' and campaign is not null
),

people as (
    select * from {{ ref('int_persons_grouped') }}
),

campaign_days as (
    select
        ad_spend.date,
        ad_spend.channel,
        ad_spend.campaign_id,
        sum(ad_spend.spend_amount) as spend_amount
    from ad_spend
    group by 1, 2, 3
),

visits as (
    select
        (touchpoints.touched_at at time zone {{ workspace_time_zone() }})::date as date,
        campaigns.channel,
        campaigns.campaign_id,
        people.country,
        people.persona_id,
        count(*) as visit_count
    from touchpoints
    inner join campaigns
        on
            touchpoints.channel = campaigns.channel
            and lower(touchpoints.campaign) = campaigns.utm_campaign
    left join people on touchpoints.person_id = people.person_id
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
        - round(joined.spend_amount * joined.share_before, 2) as spend_amount
    from joined
)

select * from split
