with planned_before_today as (
    select decisions.decision_id
    from {{ source('delivery', 'decisions') }} as decisions
    where decisions.as_of < {{ as_of() }}
),

messages as (
    select
        messages.*,
        coalesce(messages.sent_at, messages.send_at) <= {{ as_of() }} as has_happened
    from {{ source('delivery', 'messages') }} as messages
    where messages.decision_id in (select planned.decision_id from planned_before_today as planned)
)

-- What happened after business time is shown as the plan it still was.
select
    message_key,
    decision_id,
    program,
    person_id,
    channel,
    provider,
    case when has_happened then status else 'planned' end as status,
    case when has_happened then reason end as reason,
    variant_id,
    send_at,
    expires_at,
    case when has_happened then sent_at end as sent_at,
    address_hash,
    case when has_happened then cost_amount else 0 end as cost_amount
from messages
