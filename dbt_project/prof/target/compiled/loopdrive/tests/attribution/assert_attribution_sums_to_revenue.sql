-- Harm: budgets follow credit. A conversion credited twice, or revenue lost to rounding, moves
-- money to the wrong campaign and makes every report disagree with the shop's books.
select
    attributed_touchpoints.model,
    attributed_touchpoints.conversion_id,
    sum(attributed_touchpoints.credit_share) as credit_share,
    sum(attributed_touchpoints.credited_revenue_amount) as credited_revenue_amount
from "loopdrive_dbta"."marts"."attributed_touchpoints" as attributed_touchpoints
group by attributed_touchpoints.model, attributed_touchpoints.conversion_id
except
select
    attribution_models.model,
    orders.order_id as conversion_id,
    1 as credit_share,
    orders.revenue_amount as credited_revenue_amount
from "loopdrive_dbta"."marts"."orders" as orders
cross join "loopdrive_dbta"."marts"."attribution_models" as attribution_models
where orders.kind = 'sale' and orders.person_id is not null