

with site_events as (
    select relation.* from "loopdrive_dbta"."staging"."stg_raw__events" as relation
),

message_events as (
    select relation.* from "loopdrive_dbta"."identity"."int_message_events" as relation
),

-- One pattern of all: a match costs the same, however many there are.
bots as (
    select string_agg(pattern, '|' order by pattern) as pattern
    from "loopdrive_dbta"."marts"."bot_patterns"
),

site_events_linked as (
    select
        site_events.event_id,
        md5(nullif(concat_ws(
        chr(31),
        'user_id:' || user_id,
        'crm_contact_id:' || crm_contact_id,
        'email:' || email,
        'phone:' || phone,
        'device_id:' || device_id,
        'anonymous_id:' || anonymous_id,
        'previous_anonymous_id:' || previous_anonymous_id,
        'ad_click_id:' || ad_click_id
    ), ''))::uuid as set_id,
        site_events.batch_id,
        site_events.occurred_at,
        site_events.type,
        site_events.channel,
        null::text as message_key,
        null::text as program,
        site_events.channel in ('web', 'mobile')
        or site_events.type in ('page_viewed', 'screen_viewed')
        or site_events.page_url is not null as is_visit,
        coalesce(site_events.user_agent ~* bots.pattern, false) as is_bot,
        site_events.page_path,
        -- A page of the site itself brings nobody.
        nullif(site_events.referrer_domain, site_events.page_domain) as referrer_domain,
        site_events.utm_source,
        site_events.utm_medium,
        site_events.utm_campaign,
        site_events.click_id_type,
        site_events.click_id,
        site_events.properties ->> 'product_id' as product_id,
        site_events.order_id,
        site_events.revenue_amount,
        site_events.currency,
        site_events.coupon,
        site_events.discount_amount,
        site_events.item_count,
        site_events.product_ids,
        case when site_events.type = 'identified' then site_events.properties end as traits,
        case when site_events.type = 'identified' then site_events.time_zone end as time_zone,
        case when site_events.type = 'identified' then site_events.locale end as locale
    from site_events
    cross join bots
),

message_events_linked as (
    select
        event_id,
        md5(nullif(concat_ws(
        chr(31),
        'message_person_id:' || message_person_id
    ), ''))::uuid as set_id,
        batch_id,
        occurred_at,
        channel || '_' || answer as type,
        channel,
        message_key,
        program,
        false as is_visit,
        answer = 'machine_opened' as is_bot
    from message_events
)

select * from site_events_linked
union all
select
    message_events_linked.*,
    null, null, null, null, null, null, null, null, null, null, null,
    null, null, null, null, null, null, null
from message_events_linked