{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key=['left_type', 'left_value', 'right_type', 'right_value'],
    indexes=[
        {'columns': ['left_value', 'right_value', 'left_type', 'right_type'], 'unique': true},
        {'columns': ['right_value']},
        {'columns': ['batch_id']},
        {'columns': ['revision']},
    ],
    post_hook="{{ distributed_by('left_value') }}",
) }}

-- depends_on: {{ ref('int_identifier_evidence') }}
{% if is_incremental() -%}
with evidence as (
    {{ newly_known(ref('int_identifier_evidence'), 'seen_at', 'last_seen_at') }}
),

grouped as (
    select
        row_number() over () as group_number,
        user_id,
        crm_contact_id,
        email,
        phone,
        device_id,
        anonymous_id,
        previous_anonymous_id,
        ad_click_id,
        count(*) as evidence_count,
        min(seen_at) as first_seen_at,
        max(seen_at) as last_seen_at,
        max(batch_id) as batch_id
    from evidence
    group by
        user_id, crm_contact_id, email, phone, device_id, anonymous_id, previous_anonymous_id,
        ad_click_id
),
{%- else -%}
-- From nothing, the sets are all the evidence there is, grouped already.
with grouped as (
    select
        sets.*,
        sets.set_id as group_number
    from {{ ref('int_identifier_sets_observed') }} as sets
),
{%- endif %}

members as (
    select distinct
        grouped.group_number,
        members.identifier_type,
        members.identifier_value
    from grouped
    cross join
        lateral (
            values
            ('user_id', grouped.user_id),
            ('crm_contact_id', grouped.crm_contact_id),
            ('email', grouped.email),
            ('phone', grouped.phone),
            ('device_id', grouped.device_id),
            ('anonymous_id', grouped.anonymous_id),
            ('anonymous_id', grouped.previous_anonymous_id),
            ('ad_click_id', grouped.ad_click_id)
        ) as members (identifier_type, identifier_value)
    where members.identifier_value is not null
),

pairs as (
    select
        lefts.identifier_type as left_type,
        lefts.identifier_value as left_value,
        rights.identifier_type as right_type,
        rights.identifier_value as right_value,
        sum(grouped.evidence_count)::bigint as evidence_count,
        min(grouped.first_seen_at) as first_seen_at,
        max(grouped.last_seen_at) as last_seen_at,
        max(grouped.batch_id) as batch_id
    from members as lefts
    inner join members as rights
        on
            lefts.group_number = rights.group_number
            and (lefts.identifier_type, lefts.identifier_value)
            <= (rights.identifier_type, rights.identifier_value)
    inner join grouped on lefts.group_number = grouped.group_number
    group by
        lefts.identifier_type, lefts.identifier_value,
        rights.identifier_type, rights.identifier_value
)

select
    pairs.left_type,
    pairs.left_value,
    pairs.right_type,
    pairs.right_value,
    {%- if is_incremental() %}
    pairs.evidence_count + coalesce(before.evidence_count, 0) as evidence_count,
    least(pairs.first_seen_at, before.first_seen_at) as first_seen_at,
    greatest(pairs.last_seen_at, before.last_seen_at) as last_seen_at,
    greatest(pairs.batch_id, before.batch_id) as batch_id,
    {%- else %}
    pairs.evidence_count,
    pairs.first_seen_at,
    pairs.last_seen_at,
    pairs.batch_id,
    {%- endif %}
    {{ next_revision() }} as revision
from pairs
{% if is_incremental() -%}
left join {{ this }} as before
    on
        pairs.left_type = before.left_type
        and pairs.left_value = before.left_value
        and pairs.right_type = before.right_type
        and pairs.right_value = before.right_value
{% endif %}
