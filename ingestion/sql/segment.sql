-- One chunk of Segment messages: `incoming` (line_number, line) to `typed` (a row per line, with
-- the reason when it is refused). Settings come as variables; a chunk is about 16 MiB of text.

create or replace temp table extracted as
with parsed as (
    select
        line_number,
        contains(line, '\') as has_escapes,
        left(ltrim(line), 1) = '{' as is_object,
        try(json_transform(line, '{
            "messageId": "VARCHAR", "type": "VARCHAR", "event": "VARCHAR", "name": "VARCHAR",
            "anonymousId": "VARCHAR", "userId": "VARCHAR", "previousId": "VARCHAR",
            "timestamp": "VARCHAR", "originalTimestamp": "VARCHAR", "sentAt": "VARCHAR",
            "receivedAt": "VARCHAR", "channel": "VARCHAR",
            "traits": "JSON", "properties": "JSON", "context": "JSON"
        }')) as message
    from incoming
)
select
    line_number,
    has_escapes,
    is_object,
    message is null as is_broken,
    message.messageId as event_id,
    message.type as message_type,
    if(message.type = 'track', message.event, message.type) as given_type,
    message.name as name,
    nullif(message.anonymousId, '') as anonymous_id,
    nullif(message.userId, '') as user_id,
    nullif(message.previousId, '') as previous_id,
    lower(message.channel) as given_channel,
    coalesce(message.timestamp, message.originalTimestamp) as given_occurred_at,
    coalesce(message.receivedAt, message.sentAt) as given_received_at,
    try_cast(coalesce(message.timestamp, message.originalTimestamp) as timestamptz) as occurred_at,
    try_cast(coalesce(message.receivedAt, message.sentAt) as timestamptz) as received_at,
    case
        when left(message.properties::varchar, 1) <> '{' then 'properties'
        when left(message.traits::varchar, 1) <> '{' then 'traits'
        when left(message.context::varchar, 1) <> '{' then 'context'
    end as part_that_is_no_object,
    message.context::varchar as context,
    coalesce(message.properties, message.traits)::varchar as stored_properties,
    json_extract_string(coalesce(message.properties, message.traits), [
        '$.order_id', '$.revenue', '$.total', '$.currency', '$.email', '$.phone',
        '$.ad_click_id', '$.crm_contact_id'
    ]) as property,
    json_extract_string(message.context, [
        '$.device.id', '$.page.url', '$.traits.email', '$.traits.phone', '$.traits.crm_contact_id'
    ]) as surrounding,
    -- What a retry changes (timestamp, sentAt, receivedAt) stays out.
    md5(concat_ws(
        chr(31), coalesce(message.type, ''), coalesce(message.event, ''),
        coalesce(message.name, ''), coalesce(message.anonymousId, ''),
        coalesce(message.userId, ''), coalesce(message.previousId, ''),
        coalesce(message.channel, ''), coalesce(message.traits::varchar, ''),
        coalesce(message.properties::varchar, ''), coalesce(message.context::varchar, '')
    )) as content_hash
from parsed;

create or replace temp table typed as
with types as (
    select
        given_type,
        case given_type
            when 'page' then 'page_viewed'
            when 'screen' then 'screen_viewed'
            when 'identify' then 'identified'
            when 'alias' then 'aliased'
            when 'group' then 'grouped'
            else snake_case(given_type)
        end as type
    from (select distinct given_type from extracted where given_type is not null)
),

valued as (
    select
        -- The documents stay behind: copying them once more took a tenth of the time.
        extracted.* exclude (context, stored_properties),
        types.type,
        case
            when given_channel in ('web', 'mobile', 'server') then given_channel
            when given_channel in ('client', 'browser') then 'web'
            else 'server'
        end as channel,
        nullif(property[1], '') as order_id,
        nullif(coalesce(property[2], property[3]), '') as revenue,
        nullif(upper(trim(property[4])), '') as currency,
        mail_address(coalesce(property[5], surrounding[3])) as email,
        nullif(coalesce(property[6], surrounding[4]), '') as given_phone,
        coalesce(property[8], surrounding[5]) as crm_contact_id,
        coalesce(property[7], if(
            contains(surrounding[2], 'clid=') or contains(surrounding[2], 'braid='),
            nullif(url_decode(regexp_extract(
                surrounding[2],
                '[?&](?:gclid|gbraid|wbraid|fbclid|ttclid|msclkid)=([^&#]+)',
                1
            )), ''),
            null
        )) as ad_click_id
    from extracted
    left join types on types.given_type = extracted.given_type
)

select
    * exclude (property, surrounding),
    nullif(surrounding[1], '') as device_id,
    case
        when is_broken then 'broken_json'
        when not is_object then 'not_an_object'
        when coalesce(event_id, '') = '' then 'missing_value: messageId'
        when left(event_id, 1) in ('{', '[') or length(event_id) > 200
            then 'wrong_type: messageId'
        when coalesce(message_type, '') = '' then 'missing_value: type'
        when coalesce(given_type, '') = '' then 'missing_value: event'
        when left(given_type, 1) in ('{', '[') or coalesce(type, '') = ''
            or length(given_type) > 200
            then 'wrong_type: event'
        when given_occurred_at is null then 'missing_value: timestamp'
        when occurred_at is null then 'wrong_type: timestamp'
        when given_received_at is null then 'missing_value: receivedAt'
        when received_at is null then 'wrong_type: receivedAt'
        when not is_sane_time(occurred_at) then 'impossible_date: timestamp'
        when not is_sane_time(received_at) then 'impossible_date: receivedAt'
        when occurred_at > received_at + interval 15 minutes then 'future_event'
        when left(user_id, 1) in ('{', '[') then 'wrong_type: userId'
        when left(anonymous_id, 1) in ('{', '[') then 'wrong_type: anonymousId'
        when part_that_is_no_object is not null then 'wrong_type: ' || part_that_is_no_object
        when revenue is not null and not is_decimal(revenue) then 'wrong_type: revenue'
        when currency is not null and not list_contains(getvariable('currencies'), currency)
            then 'unknown_currency'
    end as reason
from valued;

-- The first line of an id wins within a chunk; across chunks and files Postgres' key decides.
create or replace temp table repeats as
select
    line_number,
    if(content_hash = first_hash, 'duplicate', 'event_id_reused') as verdict
from (
    select
        line_number,
        content_hash,
        row_number() over by_id as position,
        first_value(content_hash) over by_id as first_hash
    from typed
    where
        reason is null
        and event_id in (
            select event_id from typed where reason is null group by event_id having count(*) > 1
        )
    window by_id as (partition by event_id order by line_number)
)
where position > 1;
