{{ config(materialized='view') }}
{%- set day = 'double precision / 86400' %}

with built as (
    select * from {{ ref('int_person_features_built') }}
),

consents as (
    select * from {{ ref('int_consents_recorded') }}
    where scope = 'marketing' and status = 'granted'
),

workspace as (
    select
        as_of,
        as_of - make_interval(weeks => {{ var('snapshot_weeks') }}) as oldest_as_of
    from {{ ref('stg_raw__workspace') }}
),

-- A latest row is as of today whenever it was written: none of its windows has moved since.
kept as (
    select
        built.*,
        case
            when built.snapshot = 'latest' then workspace.as_of
            else built.written_as_of
        end as as_of
    from built
    inner join {{ ref('persons') }} as persons on built.person_id = persons.person_id
    cross join workspace
    where
        built.snapshot = 'latest'
        or (
            built.written_as_of > workspace.oldest_as_of
            and built.written_as_of < workspace.as_of
        )
)

select
    kept.person_id,
    kept.as_of,
    extract(epoch from kept.as_of - kept.first_seen_at)::{{ day }} as days_since_first_seen,
    extract(epoch from kept.as_of - kept.last_active_at)::{{ day }} as days_since_last_seen,
    extract(epoch from kept.as_of - kept.first_order_at)::{{ day }} as days_since_first_order,
    extract(epoch from kept.as_of - kept.last_order_at)::{{ day }} as days_since_last_order,
    kept.order_count::bigint as order_count,
    kept.order_count_30d::bigint as orders_30d_count,
    kept.order_count_90d::bigint as orders_90d_count,
    kept.order_count_365d::bigint as orders_365d_count,
    kept.net_revenue_amount::double precision as net_revenue_amount,
    kept.net_revenue_amount_30d::double precision as net_revenue_30d_amount,
    kept.net_revenue_amount_90d::double precision as net_revenue_90d_amount,
    kept.net_revenue_amount_365d::double precision as net_revenue_365d_amount,
    (kept.revenue_amount / nullif(kept.order_count, 0))::double precision as average_order_amount,
    extract(epoch from kept.last_order_at - kept.first_order_at)::{{ day }}
    / nullif(kept.order_count - 1, 0) as mean_days_between_orders,
    kept.session_count_7d::bigint as sessions_7d_count,
    kept.session_count_30d::bigint as sessions_30d_count,
    kept.session_count_90d::bigint as sessions_90d_count,
    kept.page_view_count_30d::bigint as page_views_30d_count,
    kept.product_view_count_30d::bigint as products_viewed_30d_count,
    kept.cart_add_count_30d::bigint as products_added_30d_count,
    kept.checkout_count_30d::bigint as checkouts_30d_count,
    kept.email_delivered_count_30d::bigint as emails_delivered_30d_count,
    kept.email_open_count_90d::bigint as emails_opened_90d_count,
    kept.email_click_count_90d::bigint as emails_clicked_90d_count,
    kept.sms_delivered_count_30d::bigint as sms_delivered_30d_count,
    kept.sms_click_count_90d::bigint as sms_clicked_90d_count,
    kept.support_ticket_count_90d::bigint as support_tickets_90d_count,
    (kept.refund_amount / nullif(kept.revenue_amount, 0))::double precision as refund_share,
    (kept.discount_amount / nullif(kept.revenue_amount + kept.discount_amount, 0))::double precision
        as discount_share,
    kept.new_product_count::bigint as distinct_products_count,
    coalesce(consented.has_email_consent, false) as has_email_consent,
    coalesce(consented.has_sms_consent, false) as has_sms_consent,
    kept.country,
    case when kept.first_session_at <= kept.as_of then kept.first_channel end as first_channel
from kept
-- A look-up per row: as one aggregate beside the rows, a misjudged count made it a loop over pairs.
left join lateral (
    select
        bool_or(consents.channel = 'email') as has_email_consent,
        bool_or(consents.channel = 'sms') as has_sms_consent
    from consents
    where
        consents.person_id = kept.person_id
        and consents.recorded_at <= kept.as_of
        and coalesce(consents.ended_at, 'infinity') > kept.as_of
) as consented on true
