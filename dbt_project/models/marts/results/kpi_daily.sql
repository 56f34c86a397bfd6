with

orders as (
    select * from {{ ref('orders') }}
    where kind = 'sale'
),

touchpoints as (
    select * from {{ ref('touchpoints') }}
    where kind in ('message', 'open', 'click')
),

credits as (
    select * from {{ ref('attributed_touchpoints') }}
    where model = 'last_non_direct' and program is not null
),

ad_spend as (
    select * from {{ ref('int_ad_spend_converted') }}
),

lifts as (
    select * from {{ ref('int_program_lifts_estimated') }}
),

facts as (
    select
        (touchpoints.touched_at at time zone {{ workspace_time_zone() }})::date as date,
        touchpoints.kind as measure,
        count(*)::numeric as amount
    from touchpoints
    group by 1, 2
    union all
    select
        (orders.ordered_at at time zone {{ workspace_time_zone() }})::date as date,
        unnest(array['order', 'revenue']) as measure,
        unnest(array[count(*), sum(orders.revenue_amount)]) as amount
    from orders
    group by 1
    union all
    select
        (credits.converted_at at time zone {{ workspace_time_zone() }})::date as date,
        'attributed' as measure,
        sum(credits.credited_revenue_amount) as amount
    from credits
    group by 1
    union all
    select
        ad_spend.date,
        'spend' as measure,
        ad_spend.spend_amount as amount
    from ad_spend
    union all
    select
        lifts.date,
        'incremental' as measure,
        lifts.incremental_revenue_amount as amount
    from lifts
),

summed as (
    select
        facts.date,
        coalesce(sum(facts.amount) filter (where facts.measure = 'message'), 0)::bigint as touches,
        coalesce(sum(facts.amount) filter (where facts.measure = 'open'), 0)::bigint as opens,
        coalesce(sum(facts.amount) filter (where facts.measure = 'click'), 0)::bigint as clicks,
        coalesce(sum(facts.amount) filter (where facts.measure = 'order'), 0)::bigint
            as order_count,
        coalesce(sum(facts.amount) filter (where facts.measure = 'revenue'), 0)
            as revenue_amount,
        coalesce(sum(facts.amount) filter (where facts.measure = 'attributed'), 0)
            as attributed_revenue_amount,
        coalesce(sum(facts.amount) filter (where facts.measure = 'spend'), 0) as spend_amount,
        sum(facts.amount) filter (where facts.measure = 'incremental')
            as incremental_revenue_amount
    from facts
    group by 1
),

kpis as (
    select
        summed.*,
        round(summed.attributed_revenue_amount / nullif(summed.touches, 0), 4)
            as revenue_per_touch_amount
    from summed
)

select * from kpis
