{{ config(contract={'enforced': false}, post_hook='analyze {{ this }}') }}

with

timed as (
    select * from {{ ref('int_decisions_timed') }}
),

orders as (
    select * from {{ ref('orders') }}
    where kind = 'sale' and person_id is not null
),

ordered as (
    select
        timed.decision_id,
        min(orders.ordered_at) filter (
            where orders.ordered_at > timed.reward_from and orders.ordered_at <= timed.matured_at
        ) as rewarding_order_at,
        sum(orders.net_revenue_amount) filter (
            where orders.ordered_at > timed.reward_from and orders.ordered_at <= timed.matured_at
        ) as rewarding_amount,
        bool_or(
            orders.ordered_at > timed.opened_at and orders.ordered_at <= timed.measured_at
        ) as has_converted,
        sum(orders.net_revenue_amount) filter (
            where orders.ordered_at > timed.opened_at and orders.ordered_at <= timed.measured_at
        ) as net_revenue_amount
    from timed
    inner join orders
        on
            timed.person_id = orders.person_id
            and timed.opened_at < orders.ordered_at
            and orders.ordered_at <= greatest(timed.matured_at, timed.measured_at)
    group by timed.decision_id
),

rewarded as (
    select
        timed.*,
        ordered.rewarding_amount,
        coalesce(ordered.has_converted, false) as has_converted,
        coalesce(ordered.net_revenue_amount, 0) as net_revenue_amount,
        case
            when timed.reward_kind <> 'click' then ordered.rewarding_order_at
            when
                timed.clicked_at > timed.reward_from and timed.clicked_at <= timed.matured_at
                then timed.clicked_at
        end as rewarded_at
    from timed
    left join ordered on timed.decision_id = ordered.decision_id
),

-- A refund can take an order's revenue below nothing; a message is not worth less than silence.
measured as (
    select
        rewarded.*,
        rewarded.rewarded_at is not null as is_rewarded,
        case
            when rewarded.rewarded_at is null then 0
            when rewarded.reward_kind = 'revenue' then greatest(rewarded.rewarding_amount, 0)
            else 1
        end as reward_amount
    from rewarded
)

select * from measured
