{{ config(
    materialized='incremental',
    incremental_strategy='replace_changed',
    unique_key=['person_id', 'channel', 'address_hash', 'scope', 'recorded_at', 'status'],
    contract={'enforced': false},
    indexes=[{'columns': ['person_id']}],
    post_hook="{{ distributed_by('person_id') }}",
) }}

with statements as (
    select * from {{ ref('stg_raw__crm_consents') }}
),

changes as (
    select * from {{ ref('stg_delivery__consent_changes') }}
),

contacts as (
    select * from {{ ref('stg_raw__crm_contacts') }}
),

identifiers as (
    select * from {{ ref('person_identifiers') }}
),

contact_points as (
    select * from {{ ref('contact_points') }}
),

of_addresses as (
    select
        channel,
        identifier_value as address,
        scope,
        status,
        regulation,
        recorded_at
    from statements
    where
        (identifier_type, channel) in (
            ('email', 'email'), ('phone', 'sms'), ('phone', 'whatsapp'), ('device_id', 'push')
        )
),

-- A consent filed under a card is about the address the card bore then, and no other.
of_cards as (
    select
        statements.channel,
        case statements.channel when 'email' then cards.email else cards.phone end as address,
        statements.scope,
        statements.status,
        statements.regulation,
        statements.recorded_at
    from statements
    cross join
        lateral (
            select
                contacts.email,
                contacts.phone
            from contacts
            where contacts.source = statements.source
                and contacts.contact_id = statements.identifier_value
            order by
                contacts.updated_at > statements.recorded_at,
                abs(extract(epoch from contacts.updated_at - statements.recorded_at)),
                contacts.batch_id desc
            limit 1
        ) as cards
    where
        statements.identifier_type = 'crm_contact_id'
        and statements.channel in ('email', 'sms', 'whatsapp')
),

-- Filed under a person otherwise: a refusal holds for every address, a consent for the only one
-- that was known then.
of_persons as (
    select
        contact_points.channel,
        contact_points.address,
        statements.scope,
        statements.status,
        statements.regulation,
        statements.recorded_at,
        count(*) filter (where contact_points.first_seen_at <= statements.recorded_at) over (
            partition by
                statements.identifier_type, statements.identifier_value, statements.channel,
                statements.scope, statements.recorded_at, statements.status
        ) = 1 and contact_points.first_seen_at <= statements.recorded_at as is_only_address
    from statements
    inner join identifiers
        on
            statements.identifier_type = identifiers.identifier_type
            and statements.identifier_value = identifiers.identifier_value
    inner join contact_points
        on
            identifiers.person_id = contact_points.person_id
            and statements.channel = contact_points.channel
    where
        (statements.identifier_type, statements.channel)
        not in (
            ('email', 'email'), ('phone', 'sms'), ('phone', 'whatsapp'), ('device_id', 'push')
        )
        and (statements.identifier_type <> 'crm_contact_id' or statements.status <> 'granted')
),

hashed as (
    select
        channel,
        {{ address_hash('address') }} as address_hash,
        scope,
        status,
        regulation,
        recorded_at
    from (
        select * from of_addresses
        union all
        select * from of_cards
        union all
        select
            channel,
            address,
            scope,
            status,
            regulation,
            recorded_at
        from of_persons
        where is_only_address or status <> 'granted'
    ) as statements_of_addresses
    union all
    select
        channel,
        address_hash,
        scope,
        status,
        null,
        recorded_at
    from changes
)

-- Each statement holds until the next about the same address; of two at one moment, the stricter.
select
    contact_points.person_id,
    hashed.channel,
    hashed.address_hash,
    hashed.scope,
    hashed.status,
    max(hashed.regulation) as regulation,
    hashed.recorded_at,
    lead(hashed.recorded_at) over (
        partition by hashed.channel, hashed.address_hash, hashed.scope, contact_points.person_id
        order by hashed.recorded_at, array_position('{granted,unknown,revoked}', hashed.status)
    ) as ended_at
from hashed
inner join contact_points
    on
        hashed.channel = contact_points.channel
        and hashed.address_hash = contact_points.address_hash
group by
    contact_points.person_id, hashed.channel, hashed.address_hash, hashed.scope, hashed.status,
    hashed.recorded_at
