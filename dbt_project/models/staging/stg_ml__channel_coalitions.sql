-- A month may be estimated anew under a later version; the latest one holds.
select
    effects.month,
    effects.channels,
    effects.journey_count,
    effects.conversion_count,
    effects.version
from {{ source('ml', 'channel_coalitions') }} as effects
where
    effects.version = (
        select max(latest.version)
        from {{ source('ml', 'channel_coalitions') }} as latest
        where latest.month = effects.month
    )
