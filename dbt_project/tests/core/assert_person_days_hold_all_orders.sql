-- Money that is in the orders and not in the days of a person makes every feature and score wrong.
with orders as (
    select
        person_id,
        sum(net_revenue_amount) as net_revenue_amount
    from {{ ref('orders') }}
    where person_id is not null
    group by person_id
),

days as (
    select
        person_id,
        sum(net_revenue_amount) as net_revenue_amount
    from {{ ref('person_days') }}
    group by person_id
)

select orders.person_id
from orders
left join days on orders.person_id = days.person_id
where orders.net_revenue_amount is distinct from days.net_revenue_amount
