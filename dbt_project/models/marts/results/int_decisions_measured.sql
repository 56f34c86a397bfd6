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
        bool_or(
            orders.ordered_at > timed.reward_from and orders.ordered_at <= timed.matured_at
        ) as has_rewarding_order,
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

measured as (
    select
        timed.*,
        coalesce(ordered.has_converted, false) as has_converted,
        coalesce(ordered.net_revenue_amount, 0) as net_revenue_amount,
        case timed.reward_kind
            when 'click'
                then
                    coalesce(
                        timed.clicked_at > timed.reward_from
                        and timed.clicked_at <= timed.matured_at,
                        false
                    )
            else coalesce(ordered.has_rewarding_order, false)
        end as is_rewarded
    from timed
    left join ordered on timed.decision_id = ordered.decision_id
)

select * from measured
