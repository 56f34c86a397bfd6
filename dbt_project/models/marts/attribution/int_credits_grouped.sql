{{ config(contract={'enforced': false}, post_hook='analyze {{ this }}') }}

with

conversions as (
    select * from {{ ref('orders') }}
    where kind = 'sale' and person_id is not null
),

credits as (
    select * from {{ ref('attributed_touchpoints') }}
),

conversions_with_path as (
    select conversion_id from {{ ref('attributed_touchpoints') }}
    where model = 'last_touch'
),

campaigns as (
    select * from {{ ref('int_campaigns_named') }}
),

people as (
    select * from {{ ref('int_persons_grouped') }}
),

attribution_models as (
    select * from {{ ref('attribution_models') }}
),

credited as (
    select
        (credits.converted_at at time zone {{ workspace_time_zone() }})::date as date,
        credits.model,
        credits.channel,
        credits.campaign,
        people.country,
        people.persona_id,
        sum(credits.credit_share) as credited_conversions,
        sum(credits.credited_revenue_amount) as credited_revenue_amount
    from credits
    left join people on credits.person_id = people.person_id
    group by 1, 2, 3, 4, 5, 6
),

pathless as (
    select
        (conversions.ordered_at at time zone {{ workspace_time_zone() }})::date as date,
        attribution_models.model,
        'unattributed' as channel,
        null as campaign,
        people.country,
        people.persona_id,
        count(*)::numeric as credited_conversions,
        sum(conversions.revenue_amount) as credited_revenue_amount
    from conversions
    cross join attribution_models
    left join people on conversions.person_id = people.person_id
    left join conversions_with_path
        on conversions.order_id = conversions_with_path.conversion_id
    where conversions_with_path.conversion_id is null
    group by 1, 2, 3, 4, 5, 6
),

unioned as (
    select * from credited
    union all
    select * from pathless
),

named as (
    select
        unioned.date,
        unioned.model,
        unioned.channel,
        coalesce(campaigns.campaign_id, unioned.campaign) as campaign,
        unioned.country,
        unioned.persona_id,
        sum(unioned.credited_conversions) as credited_conversions,
        sum(unioned.credited_revenue_amount) as credited_revenue_amount
    from unioned
    left join campaigns
        on
            unioned.channel = campaigns.channel
            and lower(unioned.campaign) = campaigns.utm_campaign
    group by 1, 2, 3, 4, 5, 6
)

select * from named
