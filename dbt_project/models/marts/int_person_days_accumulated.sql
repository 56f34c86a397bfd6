{{ config(
    materialized='incremental',
    incremental_strategy='replace_touched_persons',
    contract={'enforced': false},
    indexes=[
        {'columns': ['person_id', 'date'], 'unique': true},
        {'columns': ['date']},
        {'columns': ['batch_id']},
    ],
    post_hook="{{ distributed_by('person_id') }}",
) }}
{%- set measures = [
    'event_count', 'page_view_count', 'product_view_count', 'cart_add_count', 'checkout_count',
    'support_ticket_count', 'email_delivered_count', 'email_open_count', 'email_click_count',
    'sms_delivered_count', 'sms_click_count', 'session_count', 'order_count', 'order_day_count',
    'new_product_count', 'revenue_amount', 'refund_amount', 'net_revenue_amount',
    'discount_amount', 'engagement_points'
] %}

with touched as (
    {{ touched_persons() }}
),

days as (
    select
        days.*,
        least(days.order_count, 1) as order_day_count,
        max(days.date) filter (where days.last_active_at is not null) over (
            partition by days.person_id order by days.date
            rows between unbounded preceding and 1 preceding
        ) as previous_active_date,
        -- Points of a day, doubled for each half-life since 2020: what they are worth later is a
        -- division away, so nothing has to be stored again as they fade.
        (
            least(days.session_count, 3) + 2 * least(days.cart_add_count, 3)
            + 3 * least(days.checkout_count, 2) + 5 * least(days.order_count, 3)
            + least(days.email_open_count, 3) + 3 * least(days.email_click_count, 3)
            + 3 * least(days.sms_click_count, 3)
        ) * power(
            2::double precision,
            (days.date - '2020-01-01'::date)::double precision
            / {{ var('engagement_half_life_days') }}
        ) as engagement_points
    from touched
    inner join {{ ref('person_days') }} as days on touched.person_id = days.person_id
)

select
    person_id,
    date,
    {%- for measure in measures %}
    sum({{ measure }}) over history as {{ measure }},
    {%- endfor %}
    min(first_active_at) over history as first_active_at,
    max(last_active_at) over history as last_active_at,
    min(first_order_at) over history as first_order_at,
    max(last_order_at) over history as last_order_at,
    -- When the present stretch of activity began: after the last pause that ends activity.
    max(first_active_at) filter (
        where date - previous_active_date > {{ var('lifecycle_active_days') }}
        or previous_active_date is null
    ) over history as active_since_at,
    batch_id
from days
window history as (partition by person_id order by date)
