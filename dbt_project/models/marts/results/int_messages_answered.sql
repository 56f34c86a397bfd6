{{ config(materialized='view', contract={'enforced': false}) }}

with

messages as (
    select * from {{ ref('stg_delivery__messages') }}
),

provider_events as (
    select * from {{ ref('stg_raw__provider_events') }}
),

answers as (
    select
        provider_events.message_key,
        min(provider_events.occurred_at) filter (
            where provider_events.type = 'open'
        ) as opened_at,
        min(provider_events.occurred_at) filter (
            where provider_events.type = 'click'
        ) as clicked_at
    from provider_events
    where
        provider_events.type in ('open', 'click')
        and provider_events.message_key is not null
    group by provider_events.message_key
),

answered as (
    select
        messages.message_key,
        messages.decision_id,
        messages.channel,
        messages.send_at,
        messages.sent_at,
        answers.opened_at,
        answers.clicked_at
    from messages
    left join answers on messages.message_key = answers.message_key
)

select * from answered
