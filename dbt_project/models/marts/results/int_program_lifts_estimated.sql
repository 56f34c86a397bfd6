{{ config(materialized='view', contract={'enforced': false}) }}

with

decisions as (
    select * from {{ ref('int_decisions_measured') }}
),

matured as (
    select
        decisions.program,
        (decisions.measured_at at time zone {{ workspace_time_zone() }})::date as date,
        count(*) filter (where decisions.assignment = 'policy') as policy_count,
        count(*) filter (where decisions.assignment = 'holdout') as holdout_count,
        coalesce(
            sum(decisions.net_revenue_amount) filter (where decisions.assignment = 'policy'), 0
        ) as policy_revenue_amount,
        coalesce(
            sum(decisions.net_revenue_amount) filter (where decisions.assignment = 'holdout'), 0
        ) as holdout_revenue_amount
    from decisions
    where
        decisions.is_counted
        and decisions.measured_at <= {{ as_of() }}
        and decisions.assignment in ('policy', 'holdout')
    group by 1, 2
),

-- A day's holdout is a handful of people; the lift is that of everything measured until then.
running as (
    select
        matured.program,
        matured.date,
        matured.policy_count,
        sum(matured.policy_revenue_amount) over until_then
        / nullif(sum(matured.policy_count) over until_then, 0)
        - sum(matured.holdout_revenue_amount) over until_then
        / nullif(sum(matured.holdout_count) over until_then, 0) as lift_amount
    from matured
    window until_then as (
        partition by matured.program
        order by matured.date
        rows between unbounded preceding and current row
    )
),

estimated as (
    select
        running.program,
        running.date,
        running.policy_count,
        round(running.lift_amount, 6) as lift_amount,
        round(running.policy_count * running.lift_amount, 2) as incremental_revenue_amount
    from running
)

select * from estimated
