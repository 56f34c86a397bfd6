{{ config(
    materialized='incremental',
    incremental_strategy='replace_changed',
    unique_key=['date', 'platform', 'campaign_id', 'currency'],
    contract={'enforced': false},
    indexes=[{'columns': ['date']}, {'columns': ['batch_id']}],
) }}

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
        currency_rates.batch_id,
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
        nullif(ad_spend.campaign_id, '') as campaign_id,
        ad_spend.currency,
        max(ad_spend.campaign_name) as campaign_name,
        max(ad_spend.channel) as channel,
        sum(ad_spend.impressions)::bigint as impressions,
        sum(ad_spend.clicks)::bigint as clicks,
        sum(ad_spend.spend_amount) as source_spend_amount,
        sum(ad_spend.platform_conversions) as platform_conversions,
        sum(ad_spend.platform_revenue_amount) as source_revenue_amount,
        max(ad_spend.batch_id) as batch_id
    from ad_spend
    group by 1, 2, 3, 4
),

-- A day before the first known rate stays without an amount: guessing a rate would move budgets.
rated as (
    select
        campaign_days.*,
        case
            when campaign_days.currency = workspace.currency then 1
            else rates_dated.rate_to_workspace
        end as rate_to_workspace,
        rates_dated.batch_id as rate_batch_id
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
)

select
    rated.date,
    rated.platform,
    rated.campaign_id,
    rated.currency,
    rated.campaign_name,
    rated.channel,
    rated.impressions,
    rated.clicks,
    rated.source_spend_amount,
    rated.rate_to_workspace,
    round(rated.source_spend_amount * rated.rate_to_workspace, 2) as spend_amount,
    rated.platform_conversions,
    round(rated.source_revenue_amount * rated.rate_to_workspace, 2) as platform_revenue_amount,
    greatest(rated.batch_id, rated.rate_batch_id) as batch_id
from rated
