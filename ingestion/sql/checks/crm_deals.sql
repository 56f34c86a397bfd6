select
    count(*)::float8 as row_count,
    extract(epoch from %(as_of)s - max(greatest(deals.created_at, deals.closed_at)))::float8 / 3600
        as age_hours,
    avg((deals.contact_id is null)::int)::float8 as without_contact_share,
    avg((deals.contact_id is not null and not exists (
        select from raw.crm_contacts as contacts
        where contacts.source is not null and contacts.contact_id = deals.contact_id
    ))::int)::float8 as unknown_contact_share,
    count(*) filter (where deals.closed_at < deals.created_at)::float8 as closed_before_open_count,
    count(*) filter (where deals.amount < 0)::float8 as negative_amount_count
from raw.crm_deals as deals
where deals.batch_id = any(%(batches)s)
