select
    source,
    order_id,
    line_number,
    kind,
    product_id,
    quantity,
    unit_price_amount,
    currency,
    ordered_at,
    customer_id,
    country,
    batch_id
from {{ source('raw', 'order_lines') }}
where ordered_at <= {{ as_of() }}
