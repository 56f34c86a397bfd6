-- `extracted`, `typed` and `phones` to rows as COPY reads them: one for raw.event_ids, one for
-- raw.events.
select
    typed.line_number,
    typed.event_id,
    typed.content_hash,
    strftime(make_timestamp(epoch_us(typed.occurred_at)), '%Y-%m') as month,
    concat_ws(
        chr(9), copied(typed.event_id, not typed.has_escapes), typed.content_hash,
        copied_time(typed.occurred_at), getvariable('batch_id')
    ) || chr(10) as id_row,
    concat_ws(
        chr(9),
        copied(typed.event_id, not typed.has_escapes),
        getvariable('source'),
        typed.type,
        typed.channel,
        copied_time(typed.occurred_at),
        copied_time(typed.received_at),
        getvariable('batch_id'),
        copied(typed.anonymous_id, not typed.has_escapes),
        copied(typed.user_id, not typed.has_escapes),
        copied(typed.email, not typed.has_escapes),
        copied(phones.e164, true),
        copied(typed.device_id, not typed.has_escapes),
        copied(if(
            typed.crm_contact_id is null and typed.previous_id is null
            and typed.ad_click_id is null,
            null,
            json_merge_patch('{}'::json, json_object(
                'crm_contact_id', typed.crm_contact_id,
                'previous_id', typed.previous_id,
                'ad_click_id', typed.ad_click_id
            ))::varchar
        ), false),
        copied(extracted.context, not typed.has_escapes),
        copied(if(
            typed.name is not null and typed.message_type in ('page', 'screen'),
            '{"name":' || to_json(typed.name)::varchar
            || if(
                coalesce(extracted.stored_properties, '{}') = '{}',
                '}',
                ',' || substr(extracted.stored_properties, 2)
            ),
            extracted.stored_properties
        ), not typed.has_escapes),
        copied(typed.order_id, not typed.has_escapes),
        copied(typed.revenue, not typed.has_escapes),
        copied(coalesce(
            typed.currency, if(typed.revenue is null, null, getvariable('currency'))
        ), true)
    ) || chr(10) as event_row
from extracted
inner join typed on typed.line_number = extracted.line_number
left join phones on phones.given = typed.given_phone
where typed.reason is null and typed.line_number not in (select line_number from repeats)
