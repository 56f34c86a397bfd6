select
    count(*)::float8 as row_count,
    avg((products.price_amount is null)::int)::float8 as without_price_share,
    count(*) filter (where products.price_amount < 0)::float8 as negative_price_count,
    avg((products.category is null)::int)::float8 as without_category_share
from raw.products
where products.batch_id = any(%(batches)s)
