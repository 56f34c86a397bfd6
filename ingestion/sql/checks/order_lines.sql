select
    count(*)::float8 as row_count,
    extract(epoch from %(as_of)s - max(lines.ordered_at))::float8 / 3600 as age_hours,
    avg((lines.customer_id is null)::int)::float8 as without_customer_share,
    avg((lines.product_id is null)::int)::float8 as without_product_share,
    avg((lines.unit_price_amount < 0)::int)::float8 as negative_price_share,
    avg((lines.kind = 'credit_note')::int)::float8 as credit_note_share,
    count(*) filter (
        where lines.kind = 'credit_note' and lines.quantity > 0
    )::float8 as positive_credit_count,
    count(*) filter (
        where lines.currency not in (select rates.currency from raw.currency_rates as rates)
        and lines.currency <> coalesce(
            (select workspace.currency from raw.workspace), lines.currency
        )
    )::float8 as without_rate_count
from raw.order_lines as lines
where
    lines.batch_id between %(first)s and %(last)s
    and lines.batch_id = any(%(batches)s)
