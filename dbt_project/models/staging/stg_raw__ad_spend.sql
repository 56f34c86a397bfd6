-- Platforms restate their figures: a later batch wins per key.
select distinct on (date, platform, account_id, campaign_id, ad_set_id)
    date,
    platform,
    account_id,
    campaign_id,
    campaign_name,
    ad_set_id,
    channel,
    impressions,
    clicks,
    spend_amount,
    currency,
    platform_conversions,
    platform_revenue_amount,
    batch_id
from {{ source('raw', 'ad_spend') }}
where date <= ({{ as_of() }} at time zone {{ workspace_time_zone() }})::date
order by date, platform, account_id, campaign_id, ad_set_id, batch_id desc
