{{ config(
    materialized='incremental',
    incremental_strategy='replace_changed',
    unique_key=['currency', 'date'],
    contract={'enforced': false},
    indexes=[{'columns': ['currency', 'date'], 'unique': true}],
) }}

with rates as (
    select
        currency,
        date,
        rate_to_workspace,
        lead(date) over (partition by currency order by date) as next_date,
        row_number() over (partition by currency order by date) as rate_number
    from {{ ref('stg_raw__currency_rates') }}
    where currency <> {{ workspace_currency() }}
),

days as (
    select
        min(ordered_date) as first_date,
        ({{ as_of() }} at time zone {{ workspace_time_zone() }})::date as last_date
    from {{ ref('int_orders_linked') }}
)

-- The workspace's own currency is worth itself. Of others, the last rate before an order holds;
-- for orders before all rates, the first one does.
select
    rates.currency,
    held.date::date as date,
    rates.rate_to_workspace
from rates
cross join days
cross join
    lateral generate_series(
        case
            when rates.rate_number = 1 then least(rates.date, days.first_date)
            else rates.date
        end,
        coalesce(rates.next_date - 1, greatest(days.last_date, rates.date)),
        '1 day'
    ) as held (date)
union all
select
    {{ workspace_currency() }} as currency,
    held.date::date as date,
    1 as rate_to_workspace
from days
cross join lateral generate_series(days.first_date, days.last_date, '1 day') as held (date)
