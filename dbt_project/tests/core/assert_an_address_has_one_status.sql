-- Two statuses for one address would let a message go out on the one that was taken back.
select
    consents.channel,
    consents.address_hash,
    consents.scope
from {{ ref('consents') }} as consents
where consents.address_hash in (
    select of_touched.address_hash
    from {{ ref('consents') }} as of_touched
    where of_touched.person_id in ({{ persons_of_today() }})
)
group by consents.channel, consents.address_hash, consents.scope
having count(*) > 1
