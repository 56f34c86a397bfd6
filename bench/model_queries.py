"""The three tables as one statement each, written by hand for this server and nothing else.

Belongs here: what somebody would write who needs the table once, from the same linked events. Keep
out: increments, indexes, what is set apart, anything that only a product needs.
"""

SESSIONS = """
create table by_hand as
with visits as (
    select
        sets.person_id,
        events.occurred_at,
        events.event_id,
        events.page_url,
        events.referrer_url,
        events.utm_source,
        events.utm_medium,
        events.utm_campaign,
        events.click_id_type,
        nullif(concat_ws('|', events.utm_source, events.utm_medium, events.utm_campaign,
            events.click_id_type), '') as campaign
    from identity.int_events_linked as events
    inner join identity.int_identifier_sets_resolved as sets on events.set_id = sets.set_id
    where events.is_visit and not events.is_bot and sets.person_id is not null
),
paused as (
    select
        *,
        occurred_at - lag(occurred_at) over person > interval '30 minutes' is not false as is_paused
    from visits
    window person as (partition by person_id order by occurred_at, event_id)
),
stretches as (
    select
        *,
        count(*) filter (where is_paused) over (
            partition by person_id order by occurred_at, event_id
        ) as stretch
    from paused
),
opened as (
    select
        *,
        is_paused or (campaign is not null and campaign is distinct from lag(campaign) over (
            partition by person_id, stretch, campaign is null order by occurred_at, event_id
        )) as is_opening
    from stretches
),
numbered as (
    select
        *,
        count(*) filter (where is_opening) over (
            partition by person_id order by occurred_at, event_id
        ) as number
    from opened
),
grouped as (
    select
        person_id,
        min(occurred_at) as started_at,
        max(occurred_at) as ended_at,
        count(*) as event_count,
        max(event_id) filter (where is_opening) as landing_event_id,
        max(page_url) filter (where is_opening) as page_url,
        max(referrer_url) filter (where is_opening) as referrer_url,
        max(utm_source) filter (where is_opening) as utm_source,
        max(utm_medium) filter (where is_opening) as utm_medium,
        max(utm_campaign) filter (where is_opening) as utm_campaign,
        max(click_id_type) filter (where is_opening) as click_id_type
    from numbered
    group by person_id, number
)
select
    md5(landing_event_id) as session_id,
    grouped.*,
    case
        when utm_medium ~ '^(cpc|ppc|paid)' or click_id_type is not null then 'paid_search'
        when utm_medium = 'email' then 'email'
        when referrer_url ~ '(google|bing)[.]' then 'organic_search'
        when referrer_url is not null then 'referral'
        else 'direct'
    end as channel
from grouped
"""

CHRONOLOGY = """
create table by_hand as
select *
from (
    select
        items.*,
        row_number() over (
            partition by person_id order by occurred_at desc, event_id
        ) as position
    from (
        select
            sets.person_id,
            events.occurred_at,
            events.type,
            initcap(replace(events.type, '_', ' ')) || coalesce(': ' || events.product_id, '')
                as summary,
            events.event_id
        from identity.int_events_linked as events
        inner join identity.int_identifier_sets_resolved as sets on events.set_id = sets.set_id
        where
            not events.is_bot and sets.person_id is not null
            and events.type not in ('page_viewed', 'order_completed', 'order_refunded')
        union all
        select
            person_id,
            ordered_at,
            'order_completed',
            'Ordered ' || item_count::bigint || ' items for ' || round(net_revenue_amount, 2),
            order_id
        from marts.orders
        where person_id is not null
    ) as items
) as positioned
where position <= 20
"""

STATS = """
create table by_hand as
with workspace as (select as_of from raw.workspace),
visits as (
    select
        sets.person_id,
        min(events.occurred_at) as first_active_at,
        max(events.occurred_at) as last_active_at,
        count(*) filter (where events.type = 'product_added') as cart_add_count,
        sum(power(2, extract(epoch from events.occurred_at - workspace.as_of) / 86400 / 30))
            as engagement_points
    from identity.int_events_linked as events
    inner join identity.int_identifier_sets_resolved as sets on events.set_id = sets.set_id
    cross join workspace
    where not events.is_bot
    group by sets.person_id
),
bought as (
    select
        orders.person_id,
        count(*) filter (where orders.kind = 'sale') as order_count,
        sum(orders.net_revenue_amount) as net_revenue_amount,
        count(*) filter (
            where orders.kind = 'sale' and orders.ordered_at > workspace.as_of - interval '30 days'
        ) as orders_30d_count,
        sum(orders.net_revenue_amount) filter (
            where orders.ordered_at > workspace.as_of - interval '30 days'
        ) as net_revenue_30d_amount,
        min(orders.ordered_at) as first_order_at,
        max(orders.ordered_at) as last_order_at
    from marts.orders as orders
    cross join workspace
    where orders.person_id is not null
    group by orders.person_id
),
visited as (
    select
        sessions.person_id,
        count(*) as sessions_30d_count
    from marts.sessions as sessions
    cross join workspace
    where sessions.started_at > workspace.as_of - interval '30 days'
    group by sessions.person_id
)
select *
from identity.persons
left join visits using (person_id)
left join bought using (person_id)
left join visited using (person_id)
"""

BY_HAND = {"sessions": SESSIONS, "person_stats": STATS, "person_chronology": CHRONOLOGY}
CONTEXT = "select context from marts.person_context where person_id = %s"
