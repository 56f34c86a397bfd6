-- Harm: budgets follow credit. A conversion credited twice, or revenue lost to rounding, moves
-- money to the wrong campaign and makes every report disagree with the shop's books.
with

credited as (
    select
        attributed_touchpoints.model,
        attributed_touchpoints.conversion_id,
        sum(attributed_touchpoints.credit_share) as credit_share,
        sum(attributed_touchpoints.credited_revenue_amount) as credited_revenue_amount
    from {{ ref('attributed_touchpoints') }}
    group by attributed_touchpoints.model, attributed_touchpoints.conversion_id
),

expected as (
    select
        attribution_models.model,
        traced.fact_id as conversion_id,
        1::numeric as credit_share,
        traced.revenue_amount as credited_revenue_amount
    from {{ ref('int_person_facts_traced') }} as traced
    cross join {{ ref('attribution_models') }} as attribution_models
    where
        not traced.is_gone
        and traced.touchpoint_ids is not null
        and (traced.effects_month is not null or not attribution_models.is_learned)
)

select
    coalesce(credited.model, expected.model) as model,
    coalesce(credited.conversion_id, expected.conversion_id) as conversion_id
from credited
full outer join expected
    on credited.model = expected.model and credited.conversion_id = expected.conversion_id
where
    (credited.credit_share, credited.credited_revenue_amount)
    is distinct from (expected.credit_share, expected.credited_revenue_amount)
