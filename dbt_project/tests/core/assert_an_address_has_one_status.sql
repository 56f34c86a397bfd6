{{ config(meta={'dagster': {'ref': {'name': 'consents'}}}) }}
-- Two statuses for one address would let a message go out on the one that was taken back.
with touched as (
    {{ persons_of_today() }}
),

addresses as (
    select consents.address_hash
    from {{ ref('consents') }} as consents
    inner join touched on consents.person_id = touched.person_id
)

select
    consents.channel,
    consents.address_hash,
    consents.scope
from {{ ref('consents') }} as consents
where consents.address_hash in (select addresses.address_hash from addresses)
group by consents.channel, consents.address_hash, consents.scope
having count(*) > 1
