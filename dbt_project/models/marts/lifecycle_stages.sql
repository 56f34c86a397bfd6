{{ config(materialized='view') }}
{%- set at_risk_after = "make_interval(days => " ~ var('lifecycle_active_days') ~ ")" %}
{%- set churned_after = "make_interval(days => " ~ var('lifecycle_at_risk_days') ~ ")" %}
{%- set new_for = "make_interval(days => " ~ var('lifecycle_new_days') ~ ")" %}

with persons as (
    select * from {{ ref('persons') }}
),

accumulated as not materialized (
    select * from {{ ref('int_person_days_accumulated') }}
),

-- A person of whom only a card is known counts from the day the card was first seen.
activity as (
    select
        persons.person_id,
        {{ as_of() }} as as_of,
        persons.first_seen_at,
        coalesce(latest.active_since_at, persons.first_seen_at) as active_since_at,
        coalesce(latest.last_active_at, persons.first_seen_at) as last_active_at
    from persons
    left join lateral (
        select * from accumulated
        where accumulated.person_id = persons.person_id
        order by accumulated.date desc
        limit 1
    ) as latest on true
),

staged as (
    select
        activity.*,
        case
            when as_of - last_active_at > {{ churned_after }} then 'churned'
            when as_of - last_active_at > {{ at_risk_after }} then 'at_risk'
            when as_of - first_seen_at <= {{ new_for }} then 'new'
            else 'active'
        end as stage
    from activity
)

select
    person_id,
    stage,
    case stage
        when 'churned' then last_active_at + {{ churned_after }}
        when 'at_risk' then last_active_at + {{ at_risk_after }}
        when 'new' then first_seen_at
        else greatest(first_seen_at + {{ new_for }}, active_since_at)
    end as since_at
from staged
