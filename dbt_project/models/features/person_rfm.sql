{{ config(materialized='view') }}

with origins as (
    select * from {{ ref('int_person_origins') }}
    where first_order_at is not null
),

accumulated as not materialized (
    select * from {{ ref('int_person_days_accumulated') }}
)

-- Purchases on one day count once, and the first is the origin: what BG/NBD expects.
select
    origins.person_id,
    (latest.order_day_count - 1)::bigint as frequency,
    extract(epoch from latest.last_order_at - latest.first_order_at)::double precision / 86400
        as recency_days,
    extract(epoch from {{ as_of() }} - latest.first_order_at)::double precision / 86400 as age_days,
    (latest.net_revenue_amount / latest.order_day_count)::double precision as mean_order_amount
from origins
inner join lateral (
    select * from accumulated
    where accumulated.person_id = origins.person_id
    order by accumulated.date desc
    limit 1
) as latest on true
where latest.order_day_count > 0
