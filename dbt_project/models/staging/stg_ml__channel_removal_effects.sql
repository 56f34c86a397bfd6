-- A month may be estimated anew under a later version; the latest one holds.
select
    effects.month,
    effects.channel,
    effects.removal_effect,
    effects.credited_conversions,
    effects.shapley_conversions,
    effects.version
from {{ source('ml', 'channel_removal_effects') }} as effects
where
    effects.version = (
        select max(latest.version)
        from {{ source('ml', 'channel_removal_effects') }} as latest
        where latest.month = effects.month
    )
