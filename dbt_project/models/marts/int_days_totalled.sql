{{ config(materialized='view', contract={'enforced': false}) }}
{#- What is said about days that are over, and what a later day must not change in silence. -#}
{%- set watched = {
    'orders': ['order_count', 'net_revenue_amount'],
    'person_days': ['event_count', 'session_count'],
    'kpi_daily': ['touches', 'opens', 'clicks', 'attributed_revenue_amount', 'spend_amount'],
} %}

with orders as (
    select
        ordered_date as date,
        count(*) filter (where kind = 'sale') as order_count,
        sum(net_revenue_amount) as net_revenue_amount
    from {{ ref('orders') }}
    group by ordered_date
),

person_days as (
    select
        date,
        sum(event_count) as event_count,
        sum(session_count) as session_count
    from {{ ref('person_days') }}
    group by date
),

kpi_daily as (
    select * from {{ ref('kpi_daily') }}
)

{% for table_name, column_names in watched.items() -%}
select
    '{{ table_name }}' as table_name,
    totals.column_name,
    {{ table_name }}.date,
    totals.value
from {{ table_name }}
cross join
    lateral (
        values
        {%- for column_name in column_names %}
        ('{{ column_name }}', {{ table_name }}.{{ column_name }}::numeric)
        {{- "," if not loop.last }}
        {%- endfor %}
    ) as totals (column_name, value)
{% if not loop.last -%}
union all
{% endif %}
{%- endfor -%}
