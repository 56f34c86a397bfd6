{{ config(
    materialized='incremental',
    incremental_strategy='replace_changed',
    unique_key='set_id',
    indexes=[{'columns': ['set_id'], 'unique': true}, {'columns': ['person_id']}],
    post_hook=["{{ distributed_by('set_id') }}", "{% if not is_incremental() %}analyze {{ this }}{% endif %}"],
) }}

with sets as (
    select * from {{ ref('int_identifier_sets_observed') }}
),

identifiers as materialized (
    select * from {{ ref('person_identifiers') }}
),

former_persons as (
    select * from {{ ref('int_person_ids_resolved') }}
)

-- Best identifier first: the order of identifier_rules.
select
    sets.set_id,
    coalesce(
        user_ids.person_id,
        crm_contact_ids.person_id,
        emails.person_id,
        phones.person_id,
        device_ids.person_id,
        anonymous_ids.person_id,
        previous_anonymous_ids.person_id,
        ad_click_ids.person_id,
        former_persons.person_id
    ) as person_id,
    sets.evidence_count
from sets
{% for column in [
    'user_id', 'crm_contact_id', 'email', 'phone', 'device_id', 'anonymous_id',
    'previous_anonymous_id', 'ad_click_id'
] %}
left join identifiers as {{ column }}s
    on
        sets.{{ column }} = {{ column }}s.identifier_value
        and {{ column }}s.identifier_type = '{{ column | replace("previous_", "") }}'
{% endfor %}
left join former_persons on sets.message_person_id = former_persons.former_person_id
