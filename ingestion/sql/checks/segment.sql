select
    count(*)::float8 as row_count,
    extract(epoch from %(as_of)s - max(events.occurred_at))::float8 / 3600 as age_hours,
    avg((coalesce(
        events.anonymous_id, events.user_id, events.email, events.phone, events.device_id
    ) is null)::int)::float8 as unidentified_share,
    avg((events.occurred_at > %(as_of)s)::int)::float8 as after_as_of_share,
    count(*) filter (where events.type !~ '^[[:alnum:]_]+$')::float8 as malformed_type_count,
    coalesce(avg((events.context #>> '{page,url}' is null)::int) filter (
        where events.type = 'page_viewed'
    ), 0)::float8 as page_without_url_share,
    coalesce(avg((events.order_id is null or events.revenue_amount is null)::int) filter (
        where events.type = 'order_completed'
    ), 0)::float8 as incomplete_order_share,
    count(*) filter (
        where events.revenue_amount is not null
        and events.currency not in (select rates.currency from raw.currency_rates as rates)
        and events.currency <> coalesce(
            (select workspace.currency from raw.workspace), events.currency
        )
    )::float8 as without_rate_count
from raw.events
where
    events.batch_id between %(first)s and %(last)s
    and events.batch_id = any(%(batches)s)
