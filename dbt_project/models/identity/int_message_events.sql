{{ config(materialized='view') }}

with provider_events as (
    select * from {{ ref('stg_raw__provider_events') }}
),

messages as (
    select * from {{ ref('stg_delivery__messages') }}
)

select
    provider_events.provider || ':' || provider_events.provider_event_id as event_id,
    messages.person_id as message_person_id,
    messages.message_key,
    messages.program,
    messages.channel,
    case provider_events.type
        when 'open' then 'opened'
        when 'machine_open' then 'machine_opened'
        when 'click' then 'clicked'
        when 'bounce' then 'bounced'
        when 'soft_bounce' then 'soft_bounced'
        when 'complaint' then 'complained'
        when 'unsubscribe' then 'unsubscribed'
        else provider_events.type
    end as answer,
    provider_events.occurred_at,
    provider_events.batch_id
from provider_events
inner join messages on provider_events.message_key = messages.message_key
