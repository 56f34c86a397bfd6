{{ config(materialized='view', contract={'enforced': false}) }}

with

profiles as (
    select * from {{ ref('profiles') }}
),

person_personas as (
    select * from {{ ref('stg_ml__person_personas') }}
),

grouped as (
    select
        coalesce(profiles.person_id, person_personas.person_id) as person_id,
        profiles.country,
        person_personas.persona_id
    from profiles
    full join person_personas on profiles.person_id = person_personas.person_id
)

select * from grouped
