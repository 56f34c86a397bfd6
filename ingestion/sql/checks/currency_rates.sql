select
    count(*)::float8 as row_count,
    extract(epoch from %(as_of)s - max(rates.date)::timestamptz)::float8 / 3600 as age_hours,
    count(*) filter (
        where rates.currency = (select workspace.currency from raw.workspace)
        and rates.rate_to_workspace <> 1
    )::float8 as own_rate_not_one_count
from raw.currency_rates as rates
where rates.batch_id = any(%(batches)s)
