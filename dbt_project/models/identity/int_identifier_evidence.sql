{{ config(materialized='view') }}

with events as (
    select * from {{ ref('stg_raw__events') }}
),

contacts as (
    select * from {{ ref('stg_raw__crm_contacts') }}
),

order_lines as (
    select * from {{ ref('stg_raw__order_lines') }}
),

consents as (
    select * from {{ ref('stg_raw__crm_consents') }}
),

message_events as (
    select * from {{ ref('int_message_events') }}
)

select
    events.user_id,
    events.crm_contact_id,
    events.email,
    events.phone,
    events.device_id,
    events.anonymous_id,
    events.previous_anonymous_id,
    events.ad_click_id,
    null::text as message_person_id,
    events.occurred_at as seen_at,
    events.batch_id
from events
union all
-- A card exported again unchanged is no new evidence.
select
    contacts.user_id,
    contacts.contact_id,
    contacts.email,
    contacts.phone,
    null,
    null,
    null,
    null,
    null,
    contacts.updated_at,
    contacts.batch_id
from contacts
left join contacts as earlier
    on
        contacts.source = earlier.source
        and contacts.contact_id = earlier.contact_id
        and contacts.updated_at = earlier.updated_at
        and contacts.batch_id > earlier.batch_id
        and contacts.email is not distinct from earlier.email
        and contacts.phone is not distinct from earlier.phone
        and contacts.user_id is not distinct from earlier.user_id
where earlier.contact_id is null
union all
select
    null,
    order_lines.customer_id,
    null,
    null,
    null,
    null,
    null,
    null,
    null,
    order_lines.ordered_at,
    order_lines.batch_id
from order_lines
where order_lines.customer_id is not null
union all
select
    case when consents.identifier_type = 'user_id' then consents.identifier_value end,
    case when consents.identifier_type = 'crm_contact_id' then consents.identifier_value end,
    case when consents.identifier_type = 'email' then consents.identifier_value end,
    case when consents.identifier_type = 'phone' then consents.identifier_value end,
    null,
    null,
    null,
    null,
    null,
    consents.recorded_at,
    consents.batch_id
from consents
union all
-- What a provider reports is about the person whom the message was addressed to.
select
    null,
    null,
    null,
    null,
    null,
    null,
    null,
    null,
    message_events.message_person_id,
    message_events.occurred_at,
    message_events.batch_id
from message_events
