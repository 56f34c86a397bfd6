with

decisions as (
    select * from {{ ref('int_decisions_measured') }}
    where is_counted
),

results as (
    select
        decisions.program,
        decisions.assignment,
        decisions.arm,
        count(*) as decisions,
        count(decisions.sent_at) as messages,
        count(decisions.message_opened_at) as opens,
        count(decisions.clicked_at) as clicks,
        count(*) filter (where decisions.has_converted) as conversions,
        sum(decisions.net_revenue_amount) as net_revenue_amount
    from decisions
    group by decisions.program, decisions.assignment, decisions.arm
)

select * from results
