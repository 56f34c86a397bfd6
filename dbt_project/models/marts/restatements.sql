{{ config(materialized='view') }}

with published as (
    select
        published.*,
        lag(value) over (
            partition by date, column_name order by published_at
        ) as value_before,
        row_number() over (
            partition by date, column_name order by published_at
        ) as publication_number
    from {{ ref('int_order_days_published') }} as published
)

select
    'orders' as table_name,
    date::text as key,
    column_name,
    value_before::text as old_value,
    value::text as new_value,
    'landed_late' as cause,
    published_at as restated_at
from published
where publication_number > 1
