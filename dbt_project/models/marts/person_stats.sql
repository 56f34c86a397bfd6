{{ config(materialized='view') }}

with persons as (
    select * from {{ ref('persons') }}
),

accumulated as not materialized (
    select * from {{ ref('int_person_days_accumulated') }}
),

today as (
    select
        as_of,
        ((as_of at time zone time_zone) - interval '1 microsecond')::date as date
    from {{ ref('stg_raw__workspace') }}
),

joined as (
    select
        persons.person_id,
        persons.first_seen_at,
        persons.last_seen_at,
        today.as_of,
        latest.last_active_at,
        latest.first_order_at,
        latest.last_order_at,
        coalesce(latest.order_count, 0)::bigint as order_count,
        coalesce(latest.net_revenue_amount, 0) as net_revenue_amount,
        coalesce(latest.order_count - coalesce(before.order_count, 0), 0)::bigint
            as orders_30d_count,
        coalesce(latest.net_revenue_amount - coalesce(before.net_revenue_amount, 0), 0)
            as net_revenue_30d_amount,
        coalesce(latest.session_count - coalesce(before.session_count, 0), 0)::bigint
            as sessions_30d_count,
        latest.engagement_points / power(
            2::double precision,
            (today.date - '2020-01-01'::date)::double precision
            / {{ var('engagement_half_life_days') }}
        ) as engagement_points,
        extract(epoch from today.as_of - latest.last_order_at)::double precision / 86400
            as days_since_last_order
    from persons
    cross join today
    left join lateral (
        select * from accumulated
        where accumulated.person_id = persons.person_id and accumulated.date <= today.date
        order by accumulated.date desc
        limit 1
    ) as latest on true
    left join lateral (
        select * from accumulated
        where accumulated.person_id = persons.person_id and accumulated.date <= today.date - 30
        order by accumulated.date desc
        limit 1
    ) as before on true
)

select
    person_id,
    first_seen_at,
    last_seen_at,
    last_active_at,
    order_count,
    net_revenue_amount,
    orders_30d_count,
    net_revenue_30d_amount,
    sessions_30d_count,
    first_order_at,
    last_order_at,
    days_since_last_order,
    -- Four points of today are worth one half: a visit with a cart and an open.
    1 - power(2::double precision, -engagement_points / 4) as engagement_score,
    case
        when days_since_last_order <= 30 then 5
        when days_since_last_order <= 60 then 4
        when days_since_last_order <= 120 then 3
        when days_since_last_order <= 240 then 2
        when days_since_last_order is not null then 1
    end as recency_score,
    case
        when order_count >= 10 then 5
        when order_count >= 5 then 4
        when order_count >= 3 then 3
        when order_count >= 2 then 2
        when order_count >= 1 then 1
    end as frequency_score,
    case
        when order_count = 0 then null
        when net_revenue_amount >= 1000 then 5
        when net_revenue_amount >= 500 then 4
        when net_revenue_amount >= 200 then 3
        when net_revenue_amount >= 50 then 2
        else 1
    end as monetary_score
from joined
