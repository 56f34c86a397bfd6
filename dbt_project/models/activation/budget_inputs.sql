with

today as (
    select ({{ as_of() }} at time zone {{ workspace_time_zone() }})::date as date
),

ad_spend as (
    select * from {{ ref('int_ad_spend_converted') }}
),

credits as (
    select * from {{ ref('channel_performance') }}
    where model = 'last_non_direct'
),

budget_plans as (
    select * from {{ ref('stg_delivery__budget_plans') }}
),

-- Only whole days: today is still being spent.
spent as (
    select
        ad_spend.platform,
        ad_spend.campaign_id,
        max(ad_spend.channel) as channel,
        coalesce(
            sum(ad_spend.spend_amount) filter (where ad_spend.date >= today.date - 7), 0
        ) as spend_7d_amount,
        coalesce(sum(ad_spend.spend_amount), 0) as spend_28d_amount,
        sum(ad_spend.spend_amount) filter (where ad_spend.date >= today.date - 7)
        / nullif(count(distinct ad_spend.date) filter (where ad_spend.date >= today.date - 7), 0)
            as mean_spend_7d_amount,
        coalesce(sum(ad_spend.platform_conversions), 0) as platform_conversions_28d,
        coalesce(sum(ad_spend.platform_revenue_amount), 0) as platform_value_28d_amount
    from ad_spend
    cross join today
    where
        ad_spend.date >= today.date - 28
        and ad_spend.date < today.date
        and ad_spend.campaign_id is not null
    group by ad_spend.platform, ad_spend.campaign_id
),

credited as (
    select
        credits.channel,
        credits.campaign,
        sum(credits.credited_conversions) as conversions_28d,
        sum(credits.credited_revenue_amount) as value_28d_amount,
        sum(credits.credited_conversions) filter (
            where credits.date >= today.date - 7
        ) as conversions_7d
    from credits
    cross join today
    where
        credits.date >= today.date - 28
        and credits.date < today.date
    group by credits.channel, credits.campaign
),

in_force as (
    select distinct on (budget_plans.platform, budget_plans.campaign_id)
        budget_plans.platform,
        budget_plans.campaign_id,
        budget_plans.approved_amount
    from budget_plans
    where
        budget_plans.status in ('approved', 'pushed', 'confirmed')
        and budget_plans.approved_amount is not null
    order by
        budget_plans.platform, budget_plans.campaign_id, budget_plans.as_of desc,
        budget_plans.plan_id
),

inputs as (
    select
        spent.platform,
        spent.campaign_id,
        spent.channel,
        'conversions'::text as objective,
        spent.spend_7d_amount,
        spent.spend_28d_amount,
        coalesce(credited.conversions_28d, 0) as conversions_28d,
        coalesce(credited.value_28d_amount, 0) as value_28d_amount,
        coalesce(in_force.approved_amount, round(spent.mean_spend_7d_amount, 2), 0)
            as current_daily_budget_amount,
        -- Meta restarts the learning of an ad set that gets fewer; Google states no such number.
        spent.platform = 'meta'
        and coalesce(credited.conversions_7d, 0)
        < {{ var('learning_conversions_7d', 50) }} as is_learning,
        spent.platform_conversions_28d,
        spent.platform_value_28d_amount
    from spent
    left join credited
        on spent.channel = credited.channel and spent.campaign_id = credited.campaign
    left join in_force
        on spent.platform = in_force.platform and spent.campaign_id = in_force.campaign_id
)

select * from inputs
