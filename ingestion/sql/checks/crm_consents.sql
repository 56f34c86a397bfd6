select
    count(*)::float8 as row_count,
    extract(epoch from %(as_of)s - max(consents.recorded_at))::float8 / 3600 as age_hours,
    avg((consents.recorded_at > %(as_of)s)::int)::float8 as after_as_of_share,
    avg((consents.status = 'unknown')::int)::float8 as unknown_status_share,
    avg((consents.regulation is null)::int)::float8 as without_regulation_share,
    avg((consents.evidence is null)::int) filter (
        where consents.status = 'granted'
    )::float8 as grant_without_evidence_share
from raw.crm_consents as consents
where consents.batch_id = any(%(batches)s)
