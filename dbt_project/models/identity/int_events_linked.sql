{{ config(
    materialized='incremental',
    incremental_strategy='append',
    indexes=[
        {'columns': ['set_id', 'event_id'], 'unique': true},
        {'columns': ['batch_id']},
        {'columns': ['occurred_at']},
        {'columns': ['order_id']},
    ],
    post_hook="{{ distributed_by('set_id') }}",
) }}
{%- set site_identifiers = [
    'user_id', 'crm_contact_id', 'email', 'phone', 'device_id', 'anonymous_id',
    'previous_anonymous_id', 'ad_click_id'
] %}

with site_events as (
    {{ newly_known(ref('stg_raw__events'), 'occurred_at', 'occurred_at') }}
),

message_events as (
    {{ newly_known(ref('int_message_events'), 'occurred_at', 'occurred_at') }}
),

-- A site is visited by few kinds of agents, so each is matched once.
bots as (
    select agents.user_agent
    from (
        select distinct seen.user_agent
        from ({{ newly_known(ref('stg_raw__events'), 'occurred_at', 'occurred_at') }}) as seen
    ) as agents
    where exists (
            select 1
            from {{ ref('bot_patterns') }} as bot_patterns
            where agents.user_agent ~* bot_patterns.pattern
        )
),

site_events_linked as (
    select
        site_events.event_id,
        {{ identifier_set_id(site_identifiers) }} as set_id,
        site_events.batch_id,
        site_events.occurred_at,
        site_events.type,
        site_events.channel,
        null::text as message_key,
        null::text as program,
        site_events.channel in ('web', 'mobile')
        or site_events.type in ('page_viewed', 'screen_viewed')
        or site_events.page_url is not null as is_visit,
        bots.user_agent is not null as is_bot,
        site_events.page_url,
        site_events.referrer_url,
        {%- for utm, parsed in [
            ('source', 'source'), ('medium', 'medium'), ('campaign', 'name')
        ] %}
        case
            when site_events.page_url like '%utm\_%'
                then nullif({{ url_query_value('site_events.page_url', 'utm_' ~ utm) }}, '')
            when site_events.campaign is not null
                then nullif(lower(site_events.campaign ->> '{{ parsed }}'), '')
        end as utm_{{ utm }},
        {%- endfor %}
        case
            when site_events.page_url like '%id=%'
                then {{ url_click_id_type('site_events.page_url') }}
        end as click_id_type,
        case
            when site_events.page_url like '%id=%'
                then {{ url_click_id('site_events.page_url') }}
        end as click_id,
        site_events.properties ->> 'product_id' as product_id,
        site_events.order_id,
        site_events.revenue_amount,
        site_events.currency,
        site_events.coupon,
        site_events.discount_amount,
        site_events.products,
        case when site_events.type = 'identified' then site_events.properties end as traits,
        case when site_events.type = 'identified' then site_events.time_zone end as time_zone,
        case when site_events.type = 'identified' then site_events.locale end as locale
    from site_events
    left join bots on site_events.user_agent = bots.user_agent
),

message_events_linked as (
    select
        event_id,
        {{ identifier_set_id(['message_person_id']) }} as set_id,
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
    null,
    null,
    null,
    null,
    null,
    null,
    null,
    null,
    null,
    null,
    null,
    null,
    null,
    null,
    null,
    null,
    null
from message_events_linked
