select
    count(*)::float8 as row_count,
    extract(epoch from %(as_of)s - max(contacts.updated_at))::float8 / 3600 as age_hours,
    avg((contacts.email is null and contacts.phone is null)::int)::float8 as unreachable_share,
    avg((contacts.properties ?| array['email_as_given', 'phone_as_given'])::int)::float8
        as unusable_contact_point_share,
    avg((contacts.updated_at > %(as_of)s)::int)::float8 as after_as_of_share,
    avg((contacts.country is null)::int)::float8 as without_country_share
from raw.crm_contacts as contacts
where contacts.batch_id = any(%(batches)s)
