{{ config(materialized='view') }}
{#- Every part is grouped by person_id, so that the condition on it reaches every index. -#}

with stats as (
    select * from {{ ref('person_stats') }}
),

identifiers as (
    select
        kinds.person_id,
        jsonb_object_agg(kinds.identifier_type, kinds.identifier_count) as counts
    from (
        select
            person_id,
            identifier_type,
            count(*) as identifier_count
        from {{ ref('person_identifiers') }}
        group by person_id, identifier_type
    ) as kinds
    group by kinds.person_id
),

consents as (
    select
        person_id,
        jsonb_agg(
            jsonb_build_object(
                'channel', channel, 'scope', scope, 'status', status, 'since', recorded_at
            )
            order by channel, scope, recorded_at, status
        ) as items
    from {{ ref('consents') }}
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

-- What went into the cart and did not come out again, in the days that a cart lives.
carts as (
    select
        person_id,
        jsonb_agg(
            jsonb_build_object('product', product_id, 'at', occurred_at)
            order by occurred_at desc, product_id
        ) as items
    from {{ ref('int_carts_filled') }}
    group by person_id
),

messages as (
    select
        person_id,
        jsonb_agg(
            jsonb_build_object(
                'at', happens_at, 'channel', channel, 'program', program, 'status', status
            )
            order by recency
        ) as items
    from {{ ref('int_messages_recent') }}
    group by person_id
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
        'identifiers', identifiers.counts,
        'first_seen', stats.first_seen_at,
        'last_seen', stats.last_seen_at,
        'orders', stats.order_count,
        'net_revenue', round(stats.net_revenue_amount, 2),
        'last_order', stats.last_order_at,
        'orders_in_30_days', stats.orders_30d_count,
        'sessions_in_30_days', stats.sessions_30d_count,
        'scores', jsonb_build_object(
            'engagement', round(stats.engagement_score::numeric, 3),
            'recency', stats.recency_score,
            'frequency', stats.frequency_score,
            'monetary', stats.monetary_score,
            'churn_probability', round(churn.churn_probability::numeric, 3),
            'expected_revenue', round(lifetime.expected_revenue_amount::numeric, 2)
        ),
        'consents', consents.items,
        'open_cart', carts.items,
        'messages', messages.items,
        'latest', chronology.items
    )) as context
from stats
left join {{ ref('lifecycle_stages') }} as stages on stats.person_id = stages.person_id
left join {{ ref('profiles') }} as profiles on stats.person_id = profiles.person_id
left join identifiers on stats.person_id = identifiers.person_id
left join consents on stats.person_id = consents.person_id
left join carts on stats.person_id = carts.person_id
left join messages on stats.person_id = messages.person_id
left join chronology on stats.person_id = chronology.person_id
left join {{ ref('stg_ml__churn_scores') }} as churn on stats.person_id = churn.person_id
left join {{ ref('stg_ml__lifetime_values') }} as lifetime on stats.person_id = lifetime.person_id
left join personas on stats.person_id = personas.person_id
