-- Harm: a conversion without a path, or spend without a visit, that falls out of the report makes
-- a channel look cheaper than it is, and the budget allocator believes it.
with

credited as (
    select
        channel_performance.model,
        sum(channel_performance.spend_amount) as spend_amount,
        sum(channel_performance.credited_conversions) as credited_conversions,
        sum(channel_performance.credited_revenue_amount) as credited_revenue_amount
    from {{ ref('channel_performance') }}
    group by channel_performance.model
),

conversions as (
    select
        count(*) as credited_conversions,
        coalesce(sum(valued.revenue_amount), 0) as credited_revenue_amount
    from {{ ref('int_conversions_valued') }} as valued
),

spent as (
    select coalesce(sum(int_ad_spend_converted.spend_amount), 0) as spend_amount
    from {{ ref('int_ad_spend_converted') }}
)

select credited.model
from credited
cross join conversions
cross join spent
where
    credited.spend_amount <> spent.spend_amount
    or credited.credited_conversions <> conversions.credited_conversions
    or credited.credited_revenue_amount <> conversions.credited_revenue_amount
