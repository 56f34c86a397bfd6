{#-
    The days that are over and whose totals are compared again today: all since the watch began,
    and older ones for which something landed since `batch`. As a literal array, so that an index
    on the date serves; empty before the first build.
-#}
{% macro watched_dates(batch) -%}
    {%- if not execute -%}
        '{}'::date[]
    {%- else -%}
        {%- set found = run_query("
            with today as (
                select (" ~ as_of() ~ " at time zone " ~ workspace_time_zone() ~ ")::date as date
            )
            select array_agg(distinct over.date order by over.date)::text
            from (
                select day::date as date
                from today
                cross join lateral generate_series(
                    today.date - " ~ var('restatement_watch_days') ~ ", today.date - 1, '1 day'
                ) as day
                union all
                select (linked.occurred_at at time zone " ~ workspace_time_zone() ~ ")::date
                from " ~ ref('int_events_linked') ~ " as linked
                where linked.batch_id > " ~ batch ~ "
                union all
                select orders.ordered_date
                from " ~ ref('int_orders_linked') ~ " as orders
                where orders.batch_id > " ~ batch ~ "
            ) as over
            cross join today
            where over.date < today.date
        ")[0][0] -%}
        '{{ found or "{}" }}'::date[]
    {%- endif -%}
{%- endmacro %}
