

with touched as (
    select touched.person_id, touched.batch_id
    from "loopdrive_dbta"."identity"."int_persons_touched" as touched
),

events as (
    select
        resolved.*,
        (resolved.occurred_at at time zone (select workspace.time_zone from "loopdrive_dbta"."raw"."workspace" as workspace))::date as date
    from touched
    inner join "loopdrive_dbta"."marts"."int_events_resolved" as resolved
        on touched.person_id = resolved.person_id
    where not resolved.is_bot
),

sessions as (
    select
        sessions.person_id,
        (sessions.started_at at time zone (select workspace.time_zone from "loopdrive_dbta"."raw"."workspace" as workspace))::date as date
    from touched
    inner join "loopdrive_dbta"."marts"."sessions" as sessions on touched.person_id = sessions.person_id
),

orders as (
    select orders.*
    from touched
    inner join "loopdrive_dbta"."marts"."orders" as orders on touched.person_id = orders.person_id
),

event_days as (
    select
        person_id,
        date,
        count(*) filter (where message_key is null) as event_count,
        count(*) filter (where type in ('page_viewed', 'screen_viewed')) as page_view_count,
        count(*) filter (where type = 'product_viewed') as product_view_count,
        count(*) filter (where type = 'product_added') as cart_add_count,
        count(*) filter (where type = 'checkout_started') as checkout_count,
        count(*) filter (where type = 'support_ticket_opened') as support_ticket_count,
        count(*) filter (where type = 'email_delivered' and message_key is not null) as email_delivered_count,
        count(*) filter (where type = 'email_opened' and message_key is not null) as email_open_count,
        count(*) filter (where type = 'email_clicked' and message_key is not null) as email_click_count,
        count(*) filter (where type = 'sms_delivered' and message_key is not null) as sms_delivered_count,
        count(*) filter (where type = 'sms_clicked' and message_key is not null) as sms_click_count,
        min(occurred_at) filter (where message_key is null) as first_event_at,
        max(occurred_at) filter (where message_key is null) as last_event_at
    from events
    group by person_id, date
),

session_days as (
    select person_id, date, count(*) as session_count
    from sessions
    group by person_id, date
),

order_days as (
    select
        person_id,
        ordered_date as date,
        count(*) filter (where kind = 'sale' and not is_stock_adjustment) as order_count,
        sum(revenue_amount) as revenue_amount,
        sum(refund_amount) as refund_amount,
        sum(net_revenue_amount) as net_revenue_amount,
        sum(discount_amount) as discount_amount,
        min(ordered_at) filter (where kind = 'sale') as first_order_at,
        max(ordered_at) filter (where kind = 'sale') as last_order_at
    from orders
    group by person_id, ordered_date
),

first_purchases as (
    select orders.person_id, min(orders.ordered_date) as date, products.product_id
    from orders
    cross join lateral unnest(orders.product_ids) as products (product_id)
    where orders.kind = 'sale'
    group by orders.person_id, products.product_id
),

new_product_days as (
    select person_id, date, count(*) as new_product_count
    from first_purchases
    group by person_id, date
)

select
    person_id,
    date,
    coalesce(event_days.event_count, 0) as event_count,
    coalesce(event_days.page_view_count, 0) as page_view_count,
    coalesce(event_days.product_view_count, 0) as product_view_count,
    coalesce(event_days.cart_add_count, 0) as cart_add_count,
    coalesce(event_days.checkout_count, 0) as checkout_count,
    coalesce(event_days.support_ticket_count, 0) as support_ticket_count,
    coalesce(event_days.email_delivered_count, 0) as email_delivered_count,
    coalesce(event_days.email_open_count, 0) as email_open_count,
    coalesce(event_days.email_click_count, 0) as email_click_count,
    coalesce(event_days.sms_delivered_count, 0) as sms_delivered_count,
    coalesce(event_days.sms_click_count, 0) as sms_click_count,
    coalesce(session_days.session_count, 0) as session_count,
    coalesce(order_days.order_count, 0) as order_count,
    coalesce(new_product_days.new_product_count, 0) as new_product_count,
    coalesce(order_days.revenue_amount, 0) as revenue_amount,
    coalesce(order_days.refund_amount, 0) as refund_amount,
    coalesce(order_days.net_revenue_amount, 0) as net_revenue_amount,
    coalesce(order_days.discount_amount, 0) as discount_amount,
    least(event_days.first_event_at, order_days.first_order_at) as first_active_at,
    greatest(event_days.last_event_at, order_days.last_order_at) as last_active_at,
    order_days.first_order_at,
    order_days.last_order_at,
    touched.batch_id
from event_days
full outer join order_days using (person_id, date)
left join session_days using (person_id, date)
left join new_product_days using (person_id, date)
inner join touched using (person_id)