{{ config(materialized='view', contract={'enforced': false}) }}
{#- A cart is filled for up to 7 days and kept for 2; what is older belongs to another occasion. -#}
{%- set since = as_of() ~ " - interval '9 days'" %}

with

linked as (
    select * from {{ ref('int_events_linked') }}
    where
        occurred_at > {{ since }}
        and type in ('product_viewed', 'product_added')
        and product_id is not null
        and not is_bot
),

events as (
    select * from {{ ref('stg_raw__events') }}
    where occurred_at > {{ since }}
),

sets as (
    select * from {{ ref('int_identifier_sets_resolved') }}
    where person_id is not null
),

products as (
    select * from {{ ref('stg_raw__products') }}
),

-- The catalogue knows best; without one, what the event itself says of the product.
described as (
    select
        linked.event_id,
        sets.person_id,
        linked.type,
        linked.occurred_at,
        linked.product_id,
        coalesce(products.name, events.properties ->> 'name') as name,
        coalesce(products.category, events.properties ->> 'category') as category,
        coalesce((events.properties ->> 'quantity')::numeric, 1) as quantity,
        coalesce((events.properties ->> 'price')::numeric, products.price_amount) as price_amount
    from linked
    inner join sets on linked.set_id = sets.set_id
    inner join events on linked.event_id = events.event_id
    left join products on linked.product_id = products.product_id
)

select * from described
