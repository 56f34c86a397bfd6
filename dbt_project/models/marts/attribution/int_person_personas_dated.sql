{{ config(
    materialized='incremental',
    incremental_strategy='append',
    full_refresh=false,
    contract={'enforced': false},
    indexes=[{'columns': ['person_id']}],
) }}

with

given as (
    select * from {{ ref('stg_ml__person_personas') }}
    where persona_id is not null
)

{%- if is_incremental() %},

latest as (
    select distinct on (before.person_id) before.*
    from {{ this }} as before
    order by before.person_id asc, before.since_at desc
)
{%- endif %}

select
    given.person_id,
    given.persona_id,
    given.as_of as since_at
from given
{%- if is_incremental() %}
left join latest on given.person_id = latest.person_id
where given.persona_id is distinct from latest.persona_id
{%- endif %}
