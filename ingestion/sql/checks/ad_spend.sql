select
    count(*)::float8 as row_count,
    extract(epoch from %(as_of)s - max(spend.date)::timestamptz)::float8 / 3600 as age_hours,
    count(*) filter (where spend.spend_amount < 0)::float8 as negative_spend_count,
    count(*) filter (where spend.clicks > spend.impressions)::float8 as excess_clicks_count,
    count(*) filter (
        where spend.platform not in ('meta', 'google', 'tiktok', 'microsoft', 'linkedin')
    )::float8 as unknown_platform_count,
    count(*) filter (
        where spend.currency not in (select rates.currency from raw.currency_rates as rates)
        and spend.currency <> coalesce(
            (select workspace.currency from raw.workspace), spend.currency
        )
    )::float8 as without_rate_count
from raw.ad_spend as spend
where spend.batch_id = any(%(batches)s)
