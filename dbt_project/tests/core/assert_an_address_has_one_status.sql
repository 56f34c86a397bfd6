-- Two statuses for one address would let a message go out on the one that was taken back.
select
    channel,
    address_hash,
    scope
from {{ ref('consents') }}
group by channel, address_hash, scope
having count(*) > 1
