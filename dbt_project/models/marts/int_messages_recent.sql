{{ config(materialized='view', contract={'enforced': false}) }}

with ranked as (
    select
        former_persons.person_id,
        messages.message_key,
        messages.channel,
        messages.program,
        messages.status,
        coalesce(messages.sent_at, messages.send_at) as happens_at,
        row_number() over (
            partition by former_persons.person_id
            order by coalesce(messages.sent_at, messages.send_at) desc, messages.message_key
        ) as recency
    from {{ ref('int_person_ids_resolved') }} as former_persons
    inner join {{ ref('stg_delivery__messages') }} as messages
        on former_persons.former_person_id = messages.person_id
)

select * from ranked
where recency <= {{ var('recent_messages_count') }}
