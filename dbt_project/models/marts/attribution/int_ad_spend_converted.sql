{{ config(contract={'enforced': false}, post_hook='analyze {{ this }}') }}

with

workspace as (
    select * from {{ ref('stg_raw__workspace') }}
),

ad_spend as (
    select * from {{ ref('stg_raw__ad_spend') }}
),

currency_rates as (
    select * from {{ ref('stg_raw__currency_rates') }}
),

rates_dated as (
    select
        currency_rates.currency,
        currency_rates.rate_to_workspace,
        currency_rates.date as valid_from_date,
        lead(currency_rates.date) over (
            partition by currency_rates.currency
            order by currency_rates.date
        ) as valid_until_date
    from currency_rates
),

campaign_days as (
    select
        ad_spend.date,
        ad_spend.platform,
        ad_spend.campaign_id,
        ad_spend.currency,
        max(ad_spend.campaign_name) as campaign_name,
        max(ad_spend.channel) as channel,
        sum(ad_spend.impressions) as impressions,
        sum(ad_spend.clicks) as clicks,
        sum(ad_spend.spend_amount) as spend_amount,
        sum(ad_spend.platform_conversions) as platform_conversions,
        sum(ad_spend.platform_revenue_amount) as platform_revenue_amount
    from ad_spend
    group by ad_spend.date, ad_spend.platform, ad_spend.campaign_id, ad_spend.currency
),

-- A day before the first known rate stays without an amount: guessing a rate would move budgets.
converted as (
    select
        campaign_days.*,
        case
            when campaign_days.currency = workspace.currency then 1
            else rates_dated.rate_to_workspace
        end as rate_to_workspace
    from campaign_days
    cross join workspace
    left join rates_dated
        on
            campaign_days.currency = rates_dated.currency
            and campaign_days.date >= rates_dated.valid_from_date
            and (
                rates_dated.valid_until_date is null
                or campaign_days.date < rates_dated.valid_until_date
            )
),

summed as (
    select
        converted.date,
        converted.platform,
        converted.campaign_id,
        max(converted.campaign_name) as campaign_name,
        max(converted.channel) as channel,
        sum(converted.impressions)::bigint as impressions,
        sum(converted.clicks)::bigint as clicks,
        round(sum(converted.spend_amount * converted.rate_to_workspace), 2) as spend_amount,
        sum(converted.platform_conversions) as platform_conversions,
        round(
            sum(converted.platform_revenue_amount * converted.rate_to_workspace), 2
        ) as platform_revenue_amount
    from converted
    group by converted.date, converted.platform, converted.campaign_id
)

select * from summed
