{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='set_id',
    indexes=[
        {'columns': ['set_id'], 'unique': true},
        {'columns': ['batch_id']},
        {'columns': ['revision']},
        {'columns': ['user_id']},
        {'columns': ['crm_contact_id']},
        {'columns': ['email']},
        {'columns': ['phone']},
        {'columns': ['device_id']},
        {'columns': ['anonymous_id']},
        {'columns': ['previous_anonymous_id']},
        {'columns': ['ad_click_id']},
        {'columns': ['message_person_id']},
    ],
    post_hook="{{ distributed_by('set_id') }}",
) }}

with evidence as (
    {{ newly_known(ref('int_identifier_evidence'), 'seen_at', 'last_seen_at') }}
),

grouped as (
    select
        user_id,
        crm_contact_id,
        email,
        phone,
        device_id,
        anonymous_id,
        previous_anonymous_id,
        ad_click_id,
        message_person_id,
        count(*) as evidence_count,
        min(seen_at) as first_seen_at,
        max(seen_at) as last_seen_at,
        max(batch_id) as batch_id
    from evidence
    group by
        user_id, crm_contact_id, email, phone, device_id, anonymous_id, previous_anonymous_id,
        ad_click_id, message_person_id
),

named as (
    select
        {{ identifier_set_id() }} as set_id,
        grouped.*
    from grouped
)

{% if is_incremental() %}
select
    named.set_id,
    named.user_id,
    named.crm_contact_id,
    named.email,
    named.phone,
    named.device_id,
    named.anonymous_id,
    named.previous_anonymous_id,
    named.ad_click_id,
    named.message_person_id,
    named.evidence_count + coalesce(before.evidence_count, 0) as evidence_count,
    least(named.first_seen_at, before.first_seen_at) as first_seen_at,
    greatest(named.last_seen_at, before.last_seen_at) as last_seen_at,
    greatest(named.batch_id, before.batch_id) as batch_id,
    {{ next_revision() }} as revision
from named
left join {{ this }} as before on named.set_id = before.set_id
{% else %}
select
    named.*,
    {{ next_revision() }} as revision
from named
{% endif %}
where named.set_id is not null
