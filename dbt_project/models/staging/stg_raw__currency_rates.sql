-- A later batch wins per date and currency.
select distinct on (currency, date)
    date,
    currency,
    rate_to_workspace,
    batch_id
from {{ source('raw', 'currency_rates') }}
where date <= ({{ as_of() }} at time zone {{ workspace_time_zone() }})::date
order by currency, date, batch_id desc
