{{ config(materialized='view') }}

with stats as (
    select * from {{ ref('person_stats') }}
),

stages as (
    select * from {{ ref('lifecycle_stages') }}
),

profiles as (
    select * from {{ ref('profiles') }}
),

consents as (
    select
        person_id,
        jsonb_agg(distinct channel order by channel) as channels
    from {{ ref('consents') }}
    where scope = 'marketing' and status = 'granted'
    group by person_id
),

chronology as (
    select
        person_id,
        jsonb_agg(
            jsonb_build_object('at', occurred_at, 'type', type, 'summary', summary)
            order by position
        ) as items
    from {{ ref('person_chronology') }}
    group by person_id
),

churn as (
    select * from {{ ref('stg_ml__churn_scores') }}
),

lifetime as (
    select * from {{ ref('stg_ml__lifetime_values') }}
),

personas as (
    select
        person_personas.person_id,
        personas.name
    from {{ ref('stg_ml__person_personas') }} as person_personas
    inner join {{ ref('stg_ml__personas') }} as personas
        on person_personas.persona_id = personas.persona_id
)

select
    stats.person_id,
    {{ as_of() }} as as_of,
    jsonb_strip_nulls(jsonb_build_object(
        'stage', stages.stage,
        'stage_since', stages.since_at,
        'persona', personas.name,
        'country', profiles.country,
        'locale', profiles.locale,
        'time_zone', profiles.time_zone,
        'may_be_written_to_by', consents.channels,
        'first_seen', stats.first_seen_at,
        'last_seen', stats.last_seen_at,
        'orders', stats.order_count,
        'net_revenue', round(stats.net_revenue_amount, 2),
        'last_order', stats.last_order_at,
        'sessions_in_30_days', stats.sessions_30d_count,
        'engagement', round(stats.engagement_score::numeric, 3),
        'churn_probability', round(churn.churn_probability::numeric, 3),
        'expected_revenue', round(lifetime.expected_revenue_amount::numeric, 2),
        'latest', chronology.items
    )) as context
from stats
left join stages on stats.person_id = stages.person_id
left join profiles on stats.person_id = profiles.person_id
left join consents on stats.person_id = consents.person_id
left join chronology on stats.person_id = chronology.person_id
left join churn on stats.person_id = churn.person_id
left join lifetime on stats.person_id = lifetime.person_id
left join personas on stats.person_id = personas.person_id
