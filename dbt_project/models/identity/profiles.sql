{{ config(
    materialized='incremental',
    incremental_strategy='replace_changed',
    unique_key='person_id',
    indexes=[{'columns': ['person_id'], 'unique': true}],
    post_hook="{{ distributed_by('person_id') }}",
) }}
{%- set fields = [
    'first_name', 'last_name', 'city', 'region', 'country', 'postal_code', 'birth_date',
    'time_zone', 'locale'
] %}

with identifiers as (
    select * from {{ ref('person_identifiers') }}
),

contacts as (
    select * from {{ ref('stg_raw__crm_contacts') }}
),

identified as (
    select * from {{ ref('int_events_linked') }}
    where type = 'identified'
),

sets as (
    select * from {{ ref('int_identifier_sets_resolved') }}
),

-- Survivorship: what the CRM holds goes before what a form was told; then the latest word.
candidates as (
    select
        identifiers.person_id,
        1 as source_rank,
        contacts.updated_at as said_at,
        contacts.source || contacts.contact_id || contacts.batch_id as tie_break,
        jsonb_build_object('source', contacts.source, 'at', contacts.updated_at) as provenance,
        contacts.first_name,
        contacts.last_name,
        contacts.city,
        contacts.region,
        contacts.country,
        contacts.postal_code,
        contacts.birth_date,
        contacts.time_zone,
        contacts.locale
    from contacts
    inner join identifiers
        on
            contacts.contact_id = identifiers.identifier_value
            and identifiers.identifier_type = 'crm_contact_id'
    union all
    select
        sets.person_id,
        2,
        identified.occurred_at,
        identified.event_id,
        jsonb_build_object('source', 'identified', 'at', identified.occurred_at),
        identified.traits ->> 'first_name',
        identified.traits ->> 'last_name',
        coalesce(identified.traits ->> 'city', identified.traits #>> '{address,city}'),
        coalesce(identified.traits ->> 'region', identified.traits #>> '{address,state}'),
        coalesce(identified.traits ->> 'country', identified.traits #>> '{address,country}'),
        coalesce(identified.traits ->> 'postal_code', identified.traits #>> '{address,postalCode}'),
        case
            when pg_input_is_valid(identified.traits ->> 'birthday', 'date')
                then (identified.traits ->> 'birthday')::date
        end,
        identified.time_zone,
        identified.locale
    from identified
    inner join sets on identified.set_id = sets.set_id
    where sets.person_id is not null
),

-- A zone that Postgres does not know would break every local hour after this.
cleaned as (
    select
        candidates.person_id,
        candidates.source_rank,
        candidates.said_at,
        candidates.tie_break,
        candidates.provenance,
        candidates.birth_date,
        {%- for field in fields if field not in ('birth_date', 'time_zone') %}
        nullif(trim(candidates.{{ field }}), '') as {{ field }},
        {%- endfor %}
        zones.name as time_zone
    from candidates
    left join pg_timezone_names as zones on candidates.time_zone = zones.name
),

ranked as (
    select
        {%- for field in fields %}
        array_agg({{ field }} order by source_rank, said_at desc, tie_break)
        filter (where {{ field }} is not null) as {{ field }}s,
        array_agg(provenance order by source_rank, said_at desc, tie_break)
        filter (where {{ field }} is not null) as {{ field }}_sources,
        {%- endfor %}
        person_id
    from cleaned
    group by person_id
)

select
    person_id,
    {%- for field in fields %}
    {{ field }}s[1] as {{ field }},
    {%- endfor %}
    jsonb_strip_nulls(jsonb_build_object(
        {%- for field in fields %}
        '{{ field }}', {{ field }}_sources[1]{{ "," if not loop.last }}
        {%- endfor %}
    )) as provenance
from ranked
