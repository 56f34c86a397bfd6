-- One chunk of landed webhooks: `incoming` (line_number, line) to `typed`, a row per line.
--
-- SendGrid: https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event
-- Twilio: https://www.twilio.com/docs/messaging/guides/track-outbound-message-status, and its
-- default opt-out words: https://help.twilio.com/articles/223134027
-- A status callback has no time of its own, so it happened when it was received; its id is the
-- message and the status, since each status of a message is reported once.
-- Resend: https://resend.com/docs/webhooks/event-types; its id travels in a header, so the line
-- carries it as event_id.
-- WhatsApp: https://developers.facebook.com/docs/whatsapp/cloud-api/webhooks; a status, a reply or
-- a preference is a line. LoopDrive's own webhook speaks our words already.

create or replace temp table typed as
with parsed as (
    select
        line_number,
        line,
        try(json_transform(line, '{
            "provider": "VARCHAR", "received_at": "VARCHAR", "url": "VARCHAR",
            "event_id": "VARCHAR", "payload": "JSON"
        }')) as event
    from incoming
),

extracted as (
    select
        line_number,
        line,
        event is null as is_broken,
        lower(event.provider) as provider,
        try_cast(event.received_at as timestamptz) as received_at,
        event.payload::varchar as payload,
        event.event_id as landed_event_id,
        nullif(url_decode(regexp_extract(event.url, '[?&]message_key=([^&#]*)', 1)), '')
            as key_in_url,
        json_extract_string(event.payload, [
            '$.event', '$.timestamp', '$.sg_event_id', '$.message_key', '$.sg_machine_open',
            '$.type', '$.MessageSid', '$.MessageStatus', '$.Body', '$.event_id', '$.SmsSid',
            '$.SmsStatus'
        ]) as value,
        case when lower(event.provider) in ('resend', 'whatsapp', 'webhook') then
            json_extract_string(event.payload, [
                '$.created_at', '$.data.tags.message_key', '$.data.bounce.type',
                '$.data.unsubscribed', '$.id', '$.status', '$.from', '$.text.body',
                '$.button.text', '$.wa_id', '$.value', '$.biz_opaque_callback_data',
                '$.occurred_at'
            ])
        end as told,
        -- Tags come as an object, or as they were sent: a list of names and values.
        case when lower(event.provider) = 'resend' then
            list_filter(
                try_cast(event.payload -> '$.data.tags' as struct(name varchar, value varchar)[]),
                lambda tag: tag.name = 'message_key'
            )[1].value
        end as key_in_tags
    from parsed
),

named as (
    select
        *,
        coalesce(value[7], value[11]) as message_sid,
        lower(coalesce(value[8], value[12])) as message_status,
        upper(trim(if(provider = 'whatsapp', coalesce(told[8], told[9], ''), value[9]))) as reply,
        case provider
            when 'resend' then coalesce(told[2], key_in_tags)
            when 'whatsapp' then
                nullif(url_decode(regexp_extract(told[12], '(?:^|&)message_key=([^&]*)', 1)), '')
            else coalesce(nullif(value[4], ''), key_in_url)
        end as message_key,
        -- Seconds since 1970, or ISO 8601.
        case
            when provider = 'resend' then try_cast(told[1] as timestamptz)
            when provider = 'webhook' then try_cast(told[13] as timestamptz)
            else coalesce(
                to_timestamp(try_cast(value[2] as double)), try_cast(value[2] as timestamptz)
            )
        end as stated_at
    from extracted
),

normalised as (
    select
        *,
        case provider
            when 'sendgrid' then value[3]
            when 'twilio' then message_sid || ':' || if(
                reply is null, message_status, 'reply'
            )
            when 'resend' then landed_event_id
            when 'whatsapp' then case
                when told[6] is not null then told[5] || ':' || told[6]
                when told[7] is not null then told[5] || ':reply'
                else told[10] || ':' || told[11] || ':' || value[2]
            end
            else value[10]
        end as provider_event_id,
        case provider
            when 'sendgrid' then case
                when value[1] = 'open' and value[5] = 'true' then 'machine_open'
                when value[1] = 'bounce' and value[6] = 'blocked' then 'soft_bounce'
                when value[1] = 'spamreport' then 'complaint'
                when value[1] = 'group_unsubscribe' then 'unsubscribe'
                when value[1] = 'group_resubscribe' then 'resubscribe'
                else snake_case(value[1])
            end
            when 'twilio' then case
                when reply in (
                    'STOP', 'STOPALL', 'UNSUBSCRIBE', 'CANCEL', 'END', 'QUIT', 'REVOKE', 'OPTOUT'
                ) then 'unsubscribe'
                when reply in ('START', 'YES', 'UNSTOP') then 'resubscribe'
                when reply is not null then 'reply'
                when message_status in ('accepted', 'scheduled', 'queued', 'sending')
                    then 'processed'
                when message_status = 'read' then 'open'
                else message_status
            end
            when 'resend' then case value[6]
                when 'email.scheduled' then 'processed'
                when 'email.sent' then 'sent'
                when 'email.delivered' then 'delivered'
                when 'email.delivery_delayed' then 'deferred'
                when 'email.bounced' then if(told[3] = 'Transient', 'soft_bounce', 'bounce')
                when 'email.complained' then 'complaint'
                when 'email.opened' then 'open'
                when 'email.clicked' then 'click'
                when 'email.failed' then 'failed'
                when 'email.suppressed' then 'dropped'
                when 'contact.updated' then if(told[4] = 'true', 'unsubscribe', null)
            end
            when 'whatsapp' then case
                when told[6] = 'read' then 'open'
                when told[6] in ('sent', 'delivered', 'failed') then told[6]
                when told[7] is null then
                    case told[11] when 'stop' then 'unsubscribe' when 'resume' then 'resubscribe' end
                when reply in (
                    'STOP', 'STOPALL', 'UNSUBSCRIBE', 'CANCEL', 'END', 'QUIT', 'OPTOUT',
                    'STOP PROMOTIONS'
                ) then 'unsubscribe'
                when reply in ('START', 'UNSTOP') then 'resubscribe'
                else 'reply'
            end
            when 'webhook' then value[6]
            else snake_case(value[1])
        end as type,
        if(provider = 'twilio', received_at, stated_at) as occurred_at
    from named
)

select
    line_number,
    line,
    case
        when is_broken then 'broken_json'
        when coalesce(provider, '') = '' then 'missing_value: provider'
        when provider not in (
            'sendgrid', 'twilio', 'resend', 'whatsapp', 'webhook', 'links'
        ) then 'unknown_value: provider'
        when coalesce(left(payload, 1), '') <> '{' then 'wrong_type: payload'
        when received_at is null then 'wrong_type: received_at'
        when coalesce(type, '') = '' then 'missing_value: event'
        when coalesce(provider_event_id, '') = '' then 'missing_value: event_id'
        when occurred_at is null then 'wrong_type: timestamp'
        when not is_sane_time(occurred_at) then 'impossible_date: timestamp'
        when not is_sane_time(received_at) then 'impossible_date: received_at'
        when occurred_at > received_at + interval 15 minutes then 'future_event'
    end as reason,
    concat_ws(
        chr(9),
        line_number,
        copied(provider, false),
        copied(provider_event_id, false),
        copied(message_key, false),
        copied(type, false),
        copied_time(occurred_at),
        copied(payload, false),
        copied_time(received_at)
    ) || chr(10) as copy_line
from normalised;
