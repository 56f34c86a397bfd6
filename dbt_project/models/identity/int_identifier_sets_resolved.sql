{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='set_id',
    indexes=[
        {'columns': ['set_id'], 'unique': true},
        {'columns': ['person_id']},
        {'columns': ['set_revision']},
        {'columns': ['resolution']},
    ],
    post_hook="{{ distributed_by('set_id') }}",
) }}
{%- set columns = [
    'user_id', 'crm_contact_id', 'email', 'phone', 'device_id', 'anonymous_id',
    'previous_anonymous_id', 'ad_click_id'
] %}

with all_sets as (
    select * from {{ ref('int_identifier_sets_observed') }}
),

identifiers as (
    select * from {{ ref('stg_ml__identity_clusters') }}
),

ledger as (
    select * from {{ source('identity', 'person_id_ledger') }}
),
{% if is_incremental() %}
-- Identifiers that another person has now, or nobody.
moved as materialized (
    select
        identifier_type,
        identifier_value
    from identifiers
    where resolution > {{ highest('resolution', '-1') }}
),

touched as (
    select set_id from all_sets
    where revision > {{ highest('set_revision', '-1') }}
    {%- for column in columns %}
    union
    select all_sets.set_id
    from moved
    inner join all_sets on moved.identifier_value = all_sets.{{ column }}
    where moved.identifier_type = '{{ column | replace("previous_", "") }}'
    {%- endfor %}
    union
    select all_sets.set_id
    from moved
    inner join ledger
        on
            moved.identifier_type = ledger.identifier_type
            and moved.identifier_value = ledger.identifier_value
    inner join all_sets on ledger.person_id = all_sets.message_person_id
),

sets as (
    select all_sets.*
    from touched
    inner join all_sets on touched.set_id = all_sets.set_id
),
{% else %}
sets as (
    select * from all_sets
),
{% endif %}
-- Best identifier first: the order of identifier_rules.
resolved as (
    select
        sets.set_id,
        coalesce(
            {%- for column in columns %}
            {{ column }}s.person_id,
            {%- endfor %}
            former_persons.person_id
        ) as person_id,
        sets.evidence_count
    from sets
    {% for column in columns -%}
    left join identifiers as {{ column }}s
        on
            sets.{{ column }} = {{ column }}s.identifier_value
            and {{ column }}s.identifier_type = '{{ column | replace("previous_", "") }}'
    {% endfor -%}
    left join ledger on sets.message_person_id = ledger.person_id
    left join identifiers as former_persons
        on
            ledger.identifier_type = former_persons.identifier_type
            and ledger.identifier_value = former_persons.identifier_value
),

latest as (
    select
        (select max(revision) from all_sets) as set_revision,
        (select max(resolution) from identifiers) as resolution
)

select
    resolved.set_id,
    resolved.person_id,
    resolved.evidence_count,
    {%- if is_incremental() %}
    -- Who had the set before: the rows about them must go.
    case
        when coalesce(before.person_id, '') <> coalesce(resolved.person_id, '')
            then before.person_id
        else before.former_person_id
    end as former_person_id,
    {%- else %}
    null::text as former_person_id,
    {%- endif %}
    latest.set_revision,
    latest.resolution
from resolved
{%- if is_incremental() %}
left join {{ this }} as before on resolved.set_id = before.set_id
{%- endif %}
cross join latest
