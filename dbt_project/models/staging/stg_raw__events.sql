with events as (
    select
        *,
        context #>> '{page,url}' as page_url,
        nullif(context #>> '{page,referrer}', '') as referrer_url
    from {{ source('raw', 'events') }}
    where occurred_at <= {{ as_of() }}
)

select
    event_id,
    source,
    type,
    channel,
    occurred_at,
    received_at,
    batch_id,
    properties,

    -- identifiers; an alias names the id that a person carried before, which browsers make up
    user_id,
    identifiers ->> 'crm_contact_id' as crm_contact_id,
    email,
    phone,
    device_id,
    anonymous_id,
    identifiers ->> 'previous_id' as previous_anonymous_id,
    identifiers ->> 'ad_click_id' as ad_click_id,

    -- orders; a shop's own numbers come as text now and then
    order_id,
    revenue_amount,
    currency,
    case when order_id is not null then properties ->> 'coupon' end as coupon,
    case
        when order_id is not null and properties ->> 'discount' ~ '^[0-9]+([.][0-9]+)?$'
            then (properties ->> 'discount')::numeric
    end as discount_amount,
    case when order_id is not null then properties -> 'products' end as products,

    -- where and how
    page_url,
    referrer_url,
    context ->> 'userAgent' as user_agent,
    context ->> 'timezone' as time_zone,
    context ->> 'locale' as locale,

    -- campaign as the tracker parsed it
    context -> 'campaign' as campaign
from events
