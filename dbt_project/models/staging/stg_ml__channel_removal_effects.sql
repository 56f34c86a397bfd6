select
    month,
    channel,
    removal_effect,
    credited_conversions,
    version
from {{ source('ml', 'channel_removal_effects') }}
