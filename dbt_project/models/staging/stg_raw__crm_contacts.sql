select
    source,
    contact_id,
    email,
    phone,
    first_name,
    last_name,
    city,
    region,
    country,
    postal_code,
    birth_date,
    time_zone,
    locale,
    properties ->> 'user_id' as user_id,
    updated_at,
    batch_id
from {{ source('raw', 'crm_contacts') }}
where updated_at <= {{ as_of() }}
