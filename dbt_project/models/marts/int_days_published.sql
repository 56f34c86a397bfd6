{{ config(
    materialized='incremental',
    incremental_strategy='append',
    full_refresh=false,
    contract={'enforced': false},
    indexes=[{'columns': ['date']}, {'columns': ['batch_id']}],
) }}
-- depends_on: {{ ref('int_events_linked') }}, {{ ref('int_orders_linked') }}
{%- set nothing = "9223372036854775807" %}
{%- set batch = highest('batch_id', nothing) if is_incremental() else nothing %}
{%- set published_before = highest('published_at', "'infinity'") %}
{%- set last_date = highest('date', "'-infinity'") %}
{%- set watched = "date = any(" ~ watched_dates(batch) ~ ")" if is_incremental() else "true" %}

with today as (
    select
        workspace.as_of,
        (workspace.as_of at time zone workspace.time_zone)::date as date,
        (select max(batches.batch_id) from {{ ref('stg_raw__batches') }} as batches) as batch_id
    from {{ ref('stg_raw__workspace') }} as workspace
),

totals as (
    select * from {{ ref('int_days_totalled') }}
    where {{ watched }} and date < (select today.date from today)
),

published as (
    {% if is_incremental() -%}
    select distinct on (date, table_name, column_name) * from {{ this }}
    where {{ watched }}
    order by date, table_name, column_name, published_at desc
    {%- else -%}
    select * from totals
    where false
    {%- endif %}
),

-- What came since the last publication, by the day that it is about.
landed as (
    select
        (linked.occurred_at at time zone {{ workspace_time_zone() }})::date as date,
        'event' as fact
    from {{ ref('int_events_linked') }} as linked
    where linked.batch_id > {{ batch }}
    union all
    select
        orders.ordered_date,
        case orders.kind when 'credit_note' then 'refund' else 'order' end
    from {{ ref('int_orders_linked') }} as orders
    where orders.batch_id > {{ batch }}
    union all
    select
        of_persons.date,
        case when absorbed.undone_at is null then 'merge' else 'split' end
    from {{ source('identity', 'merges') }} as absorbed
    inner join {{ ref('person_days') }} as of_persons
        on of_persons.person_id in (absorbed.survivor_person_id, absorbed.absorbed_person_id)
    where coalesce(absorbed.undone_at, absorbed.merged_at) > {{ published_before }}
),

seen as (
    select
        landed.date,
        array_agg(distinct landed.fact) as facts
    from landed
    group by landed.date
),

changed as (
    select
        coalesce(totals.table_name, published.table_name) as table_name,
        coalesce(totals.column_name, published.column_name) as column_name,
        coalesce(totals.date, published.date) as date,
        coalesce(totals.value, 0) as value,
        published.value as value_before
    from totals
    full outer join published
        on
            totals.table_name = published.table_name
            and totals.column_name = published.column_name
            and totals.date = published.date
    where coalesce(totals.value, 0) <> coalesce(published.value, 0)
),

explained as (
    select
        changed.*,
        seen.facts,
        bool_or(changed.column_name = 'order_count') over (
            partition by changed.table_name, changed.date
        ) as is_counted_anew
    from changed
    left join seen on changed.date = seen.date
)

select
    explained.table_name,
    explained.column_name,
    explained.date,
    explained.value,
    coalesce(explained.value_before, 0) as value_before,
    -- A day that is published for the first time, and on time, is not restated.
    case
        when explained.value_before is null and explained.date > {{ last_date }}::date then null
        when explained.column_name = 'spend_amount' then 'spend_restated'
        when 'order' = any(explained.facts) then 'landed_late'
        when explained.table_name = 'orders' and 'refund' = any(explained.facts) then 'refund'
        when explained.table_name = 'orders' and explained.is_counted_anew then 'duplicate_removed'
        when explained.table_name = 'orders' then 'currency_rate_changed'
        when 'event' = any(explained.facts) then 'landed_late'
        when 'refund' = any(explained.facts) then 'refund'
        when 'merge' = any(explained.facts) then 'person_merged'
        when 'split' = any(explained.facts) then 'person_split'
        when explained.column_name = 'attributed_revenue_amount' then 'path_changed'
        else 'recounted'
    end as cause,
    today.as_of as published_at,
    today.batch_id
from explained
cross join today
