{{ config(
    materialized='incremental',
    incremental_strategy='replace_changed',
    unique_key=['person_id', 'channel', 'address'],
    indexes=[{'columns': ['person_id', 'channel', 'address'], 'unique': true}],
    post_hook="{{ distributed_by('person_id') }}",
) }}

with identifiers as (
    select * from {{ ref('person_identifiers') }}
),

pairs as (
    select * from {{ ref('int_identifier_pairs_counted') }}
),

profiles as (
    select * from {{ ref('profiles') }}
),

workspace as (
    select * from {{ ref('stg_raw__workspace') }}
),

statements as (
    select * from {{ ref('stg_raw__crm_consents') }}
),

-- A phone is an address of WhatsApp, and a device (an app's installation id or push token) one of
-- pushes, where the sources speak of that channel at all.
channels as (
    select
        pairs.identifier_type,
        pairs.channel
    from (
        values
        ('email', 'email'), ('phone', 'sms'), ('phone', 'whatsapp'), ('device_id', 'push')
    ) as pairs (identifier_type, channel)
    where
        pairs.channel in ('email', 'sms')
        or pairs.channel in (select statements.channel from statements)
),

addresses as (
    select
        identifiers.person_id,
        identifiers.identifier_type,
        identifiers.identifier_value,
        channels.channel,
        identifiers.first_seen_at,
        identifiers.last_seen_at
    from identifiers
    inner join channels on identifiers.identifier_type = channels.identifier_type
    where not identifiers.is_shared
),

-- An account or a card vouches for an address; what was only typed into a form may be a slip.
vouched as (
    select
        right_type as address_type,
        right_value as address,
        first_seen_at
    from pairs
    where left_type = 'crm_contact_id' and right_type in ('email', 'phone')
    union all
    select
        left_type,
        left_value,
        first_seen_at
    from pairs
    where left_type in ('email', 'phone') and right_type = 'user_id'
),

verified as (
    select
        addresses.person_id,
        addresses.channel,
        addresses.identifier_value as address,
        addresses.first_seen_at,
        addresses.last_seen_at,
        min(vouched.first_seen_at) as verified_at
    from addresses
    left join vouched
        on
            addresses.identifier_type = vouched.address_type
            and addresses.identifier_value = vouched.address
    group by
        addresses.person_id, addresses.channel, addresses.identifier_value,
        addresses.first_seen_at, addresses.last_seen_at
)

select
    verified.person_id,
    verified.channel,
    verified.address,
    {{ address_hash('verified.address') }} as address_hash,
    verified.first_seen_at,
    verified.verified_at,
    row_number() over (
        partition by verified.person_id, verified.channel
        order by
            verified.verified_at is null, verified.last_seen_at desc nulls last,
            verified.address
    ) = 1 as is_primary,
    coalesce(profiles.time_zone, workspace.time_zone) as time_zone,
    profiles.locale
from verified
left join profiles on verified.person_id = profiles.person_id
cross join workspace
