{{ config(materialized='view') }}

select
    table_name,
    date::text as key,
    column_name,
    value_before::text as old_value,
    value::text as new_value,
    cause,
    published_at as restated_at
from {{ ref('int_days_published') }}
where cause is not null
