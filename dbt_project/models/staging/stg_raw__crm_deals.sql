-- The latest version wins.
select distinct on (source, deal_id)
    source,
    deal_id,
    contact_id,
    stage,
    amount,
    currency,
    created_at,
    closed_at,
    is_won,
    properties
from {{ source('raw', 'crm_deals') }}
where created_at <= {{ as_of() }}
order by source, deal_id, batch_id desc
