-- Money that is in the orders and not in the days of a person makes every feature and score wrong.
with touched as (
    {{ persons_of_today() }}
),

orders as (
    select
        touched.person_id,
        coalesce(sum(orders.net_revenue_amount), 0) as net_revenue_amount
    from touched
    inner join {{ ref('orders') }} as orders on touched.person_id = orders.person_id
    group by touched.person_id
),

days as (
    select
        touched.person_id,
        sum(days.net_revenue_amount) as net_revenue_amount
    from touched
    inner join {{ ref('person_days') }} as days on touched.person_id = days.person_id
    group by touched.person_id
)

select orders.person_id
from orders
left join days on orders.person_id = days.person_id
where orders.net_revenue_amount is distinct from days.net_revenue_amount
