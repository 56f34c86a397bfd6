{{ config(materialized='view', contract={'enforced': false}) }}

-- The latest month that was closed before a conversion's own speaks for it; for conversions before
-- all of them the first one does.
with

closed as (
    select distinct month from {{ ref('stg_ml__channel_removal_effects') }}
),

months as (
    select
        closed.month,
        case
            when lag(closed.month) over (order by closed.month) is null then '-infinity'
            else closed.month + interval '1 month'
        end as valid_from,
        lead(closed.month, 1, 'infinity') over (order by closed.month) + interval '1 month'
            as valid_until
    from closed
)

select * from months
