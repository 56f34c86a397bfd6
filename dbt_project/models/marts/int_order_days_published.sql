{{ config(
    materialized='incremental',
    incremental_strategy='append',
    full_refresh=false,
    contract={'enforced': false},
) }}

with totals as (
    select
        ordered_date,
        count(*) filter (where kind = 'sale') as order_count,
        sum(net_revenue_amount) as net_revenue_amount
    from {{ ref('orders') }}
    -- Days that are over: what is said about them should stand.
    where ordered_date < ({{ as_of() }} at time zone {{ workspace_time_zone() }})::date
    group by ordered_date
),

{% if is_incremental() -%}
published as (
    select distinct on (date, column_name) *
    from {{ this }}
    order by date, column_name, published_at desc
),

{% endif -%}
named as (
    select
        ordered_date as date,
        'order_count' as column_name,
        order_count::numeric as value
    from totals
    union all
    select
        ordered_date,
        'net_revenue_amount',
        net_revenue_amount
    from totals
)

select
    named.date,
    named.column_name,
    named.value,
    {{ as_of() }} as published_at
from named
{% if is_incremental() -%}
left join published
    on named.date = published.date and named.column_name = published.column_name
where named.value is distinct from published.value
{% endif %}
