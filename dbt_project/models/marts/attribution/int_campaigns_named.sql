{{ config(materialized='view', contract={'enforced': false}) }}

with

ad_spend as (
    select * from {{ ref('int_ad_spend_converted') }}
    where campaign_id is not null
),

names as (
    select
        ad_spend.channel,
        ad_spend.platform,
        ad_spend.campaign_id,
        ad_spend.batch_id,
        lower(ad_spend.campaign_id) as utm_campaign,
        1 as preference
    from ad_spend
    union all
    select
        ad_spend.channel,
        ad_spend.platform,
        ad_spend.campaign_id,
        ad_spend.batch_id,
        lower(ad_spend.campaign_name) as utm_campaign,
        2 as preference
    from ad_spend
    where ad_spend.campaign_name is not null
),

-- Teams tag links with the id or with the name; an id wins over another campaign's equal name.
preferred as (
    select distinct on (names.channel, names.utm_campaign)
        names.channel,
        names.utm_campaign,
        names.platform,
        names.campaign_id,
        min(names.batch_id) over (
            partition by
                names.channel, names.utm_campaign, names.preference, names.platform,
                names.campaign_id
        ) as first_batch_id
    from names
    order by
        names.channel, names.utm_campaign, names.preference, names.platform, names.campaign_id
)

select * from preferred
