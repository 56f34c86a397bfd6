

with origins as (
    select * from "loopdrive_dbta"."features"."int_person_origins"
),

accumulated as not materialized (
    select * from "loopdrive_dbta"."marts"."int_person_days_accumulated"
),

workspace as (
    select
        workspace.*,
        workspace.as_of at time zone workspace.time_zone as local_as_of
    from "loopdrive_dbta"."staging"."stg_raw__workspace" as workspace
),

touched as (
    select touched.person_id, touched.batch_id
    from "loopdrive_dbta"."identity"."int_persons_touched" as touched
),

mondays as (
    select
        monday::date as monday,
        monday::timestamp at time zone workspace.time_zone as as_of
    from workspace
    cross join lateral generate_series(
        date_trunc('week', workspace.local_as_of)
        - make_interval(weeks => 51),
        workspace.local_as_of,
        '7 days'
    ) as monday
),

-- Today for everybody; a new Monday for every buyer; past Mondays for those who were touched.
points as (
    select
        origins.*,
        'latest' as snapshot,
        workspace.as_of,
        (workspace.local_as_of - interval '1 microsecond')::date as date
    from origins
    cross join workspace
    union all
    select
        origins.*,
        mondays.monday::text as snapshot,
        mondays.as_of,
        mondays.monday - 1 as date
    from origins
    inner join mondays on origins.first_order_at < mondays.as_of
    
)

select
    points.*,
    latest.last_active_at,
    latest.last_order_at,
    coalesce(latest.order_count, 0) as order_count,
    coalesce(latest.net_revenue_amount, 0) as net_revenue_amount,
    coalesce(latest.revenue_amount, 0) as revenue_amount,
    coalesce(latest.refund_amount, 0) as refund_amount,
    coalesce(latest.discount_amount, 0) as discount_amount,
    coalesce(latest.new_product_count, 0) as new_product_count,
    coalesce(latest.session_count, 0) - coalesce(before_7d.session_count, 0)
        as session_count_7d,
    coalesce(latest.order_count, 0) - coalesce(before_30d.order_count, 0)
        as order_count_30d,
    coalesce(latest.net_revenue_amount, 0) - coalesce(before_30d.net_revenue_amount, 0)
        as net_revenue_amount_30d,
    coalesce(latest.session_count, 0) - coalesce(before_30d.session_count, 0)
        as session_count_30d,
    coalesce(latest.page_view_count, 0) - coalesce(before_30d.page_view_count, 0)
        as page_view_count_30d,
    coalesce(latest.product_view_count, 0) - coalesce(before_30d.product_view_count, 0)
        as product_view_count_30d,
    coalesce(latest.cart_add_count, 0) - coalesce(before_30d.cart_add_count, 0)
        as cart_add_count_30d,
    coalesce(latest.checkout_count, 0) - coalesce(before_30d.checkout_count, 0)
        as checkout_count_30d,
    coalesce(latest.email_delivered_count, 0) - coalesce(before_30d.email_delivered_count, 0)
        as email_delivered_count_30d,
    coalesce(latest.sms_delivered_count, 0) - coalesce(before_30d.sms_delivered_count, 0)
        as sms_delivered_count_30d,
    coalesce(latest.order_count, 0) - coalesce(before_90d.order_count, 0)
        as order_count_90d,
    coalesce(latest.net_revenue_amount, 0) - coalesce(before_90d.net_revenue_amount, 0)
        as net_revenue_amount_90d,
    coalesce(latest.session_count, 0) - coalesce(before_90d.session_count, 0)
        as session_count_90d,
    coalesce(latest.email_open_count, 0) - coalesce(before_90d.email_open_count, 0)
        as email_open_count_90d,
    coalesce(latest.email_click_count, 0) - coalesce(before_90d.email_click_count, 0)
        as email_click_count_90d,
    coalesce(latest.sms_click_count, 0) - coalesce(before_90d.sms_click_count, 0)
        as sms_click_count_90d,
    coalesce(latest.support_ticket_count, 0) - coalesce(before_90d.support_ticket_count, 0)
        as support_ticket_count_90d,
    coalesce(latest.order_count, 0) - coalesce(before_365d.order_count, 0)
        as order_count_365d,
    coalesce(latest.net_revenue_amount, 0) - coalesce(before_365d.net_revenue_amount, 0)
        as net_revenue_amount_365d
from points
left join lateral (
    select * from accumulated
    where accumulated.person_id = points.person_id and accumulated.date <= points.date - 0
    order by accumulated.date desc
    limit 1
) as latest on true
left join lateral (
    select * from accumulated
    where accumulated.person_id = points.person_id and accumulated.date <= points.date - 7
    order by accumulated.date desc
    limit 1
) as before_7d on true
left join lateral (
    select * from accumulated
    where accumulated.person_id = points.person_id and accumulated.date <= points.date - 30
    order by accumulated.date desc
    limit 1
) as before_30d on true
left join lateral (
    select * from accumulated
    where accumulated.person_id = points.person_id and accumulated.date <= points.date - 90
    order by accumulated.date desc
    limit 1
) as before_90d on true
left join lateral (
    select * from accumulated
    where accumulated.person_id = points.person_id and accumulated.date <= points.date - 365
    order by accumulated.date desc
    limit 1
) as before_365d on true
