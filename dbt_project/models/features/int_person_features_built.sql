{{ config(
    materialized='incremental',
    incremental_strategy='replace_touched_persons',
    unique_key=['person_id', 'snapshot'],
    contract={'enforced': false},
    indexes=[{'columns': ['person_id', 'snapshot'], 'unique': true}, {'columns': ['batch_id']}],
    post_hook="{{ distributed_by('person_id') }}",
) }}
-- depends_on: {{ ref('persons') }}, {{ ref('int_persons_touched') }}
{%- set windows = [7, 30, 90, 365] %}
{%- set sums_by_window = {
    7: ['session_count'],
    30: [
        'order_count', 'net_revenue_amount', 'session_count', 'page_view_count',
        'product_view_count', 'cart_add_count', 'checkout_count', 'email_delivered_count',
        'sms_delivered_count'
    ],
    90: [
        'order_count', 'net_revenue_amount', 'session_count', 'email_open_count',
        'email_click_count', 'sms_click_count', 'support_ticket_count'
    ],
    365: ['order_count', 'net_revenue_amount'],
} %}

with accumulated as not materialized (
    select * from {{ ref('int_person_days_accumulated') }}
),

workspace as (
    select
        workspace.*,
        workspace.as_of at time zone workspace.time_zone as local_as_of,
        ((workspace.as_of at time zone workspace.time_zone) - interval '1 microsecond')::date
            as last_date
    from {{ ref('stg_raw__workspace') }} as workspace
),

mondays as (
    select
        monday::date as monday,
        monday::timestamp at time zone workspace.time_zone as as_of
    from workspace
    cross join lateral generate_series(
        date_trunc('week', workspace.local_as_of)
        - make_interval(weeks => {{ var('snapshot_weeks') }} - 1),
        workspace.local_as_of,
        '7 days'
    ) as monday
),

{% if is_incremental() -%}
{%- set last_date = highest('last_date', "'-infinity'") ~ '::date' %}
{%- set last_monday = highest("nullif(snapshot, 'latest')", "''") %}
touched as (
    {{ touched_persons() }}
),

-- Whose latest row differs: touched since, or a day of theirs fell out of a window, or new.
moved as (
    select touched.person_id from touched
    union
    select accumulated.person_id
    from accumulated
    cross join workspace
    inner join (values ({{ windows | join('), (') }})) as windows (days)
        on
            accumulated.date > {{ last_date }} - windows.days
            and workspace.last_date - windows.days >= accumulated.date
    union
    select persons.person_id
    from {{ ref('persons') }} as persons
    left join {{ this }} as own on persons.person_id = own.person_id and own.snapshot = 'latest'
    where own.person_id is null
),

{% endif -%}
origins as (
    select origins.*
    from {{ ref('int_person_origins') }} as origins
    {% if is_incremental() -%}
    where
        origins.person_id in (select moved.person_id from moved)
        or {{ last_monday }} < (select max(mondays.monday)::text from mondays)
    {%- endif %}
),

-- Today for whom it differs; a new Monday for every buyer; past Mondays for those touched.
points as (
    select
        origins.*,
        'latest' as snapshot,
        workspace.as_of as written_as_of,
        workspace.last_date
    from origins
    cross join workspace
    union all
    select
        origins.*,
        mondays.monday::text as snapshot,
        mondays.as_of as written_as_of,
        mondays.monday - 1 as last_date
    from origins
    inner join mondays on origins.first_order_at < mondays.as_of
    {% if is_incremental() -%}
    where
        origins.person_id in (select touched.person_id from touched)
        or mondays.monday::text > {{ last_monday }}
    {%- endif %}
)

select
    {%- for measure in [
        'order_count', 'net_revenue_amount', 'revenue_amount', 'refund_amount',
        'discount_amount', 'new_product_count'
    ] %}
    coalesce(latest.{{ measure }}, 0) as {{ measure }},
    {%- endfor %}
    {%- for days, measures in sums_by_window.items() %}
    {%- for measure in measures %}
    coalesce(latest.{{ measure }}, 0) - coalesce(before_{{ days }}d.{{ measure }}, 0)
        as {{ measure }}_{{ days }}d,
    {%- endfor %}
    {%- endfor %}
    latest.last_active_at,
    latest.last_order_at,
    points.*
from points
{% for days in [0] + windows -%}
left join lateral (
    select * from accumulated
    where
        accumulated.person_id = points.person_id
        and accumulated.date <= points.last_date - {{ days }}
    order by accumulated.date desc
    limit 1
) as {{ "before_" ~ days ~ "d" if days else "latest" }} on true
{% endfor %}
