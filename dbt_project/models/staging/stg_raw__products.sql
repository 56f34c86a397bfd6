-- The latest version wins.
select distinct on (product_id)
    product_id,
    name,
    category,
    price_amount,
    currency,
    url,
    image_url,
    in_stock,
    description
from {{ source('raw', 'products') }}
order by product_id, batch_id desc
