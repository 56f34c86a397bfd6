{{ config(materialized='view', contract={'enforced': false}) }}

select
    linked.event_id,
    sets.person_id,
    linked.occurred_at,
    linked.batch_id,
    linked.type,
    linked.channel,
    linked.is_visit,
    linked.is_bot,
    {{ url_path('linked.page_url') }} as page_path,
    linked.utm_source,
    linked.utm_medium,
    linked.utm_campaign,
    linked.click_id_type,
    linked.product_id,
    linked.order_id,
    linked.message_key,
    linked.program
from {{ ref('int_events_linked') }} as linked
left join {{ ref('int_identifier_sets_resolved') }} as sets on linked.set_id = sets.set_id
