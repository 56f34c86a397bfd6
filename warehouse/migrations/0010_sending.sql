-- Attempts know whether the audit log covers them, so that a crash leaves none of them uncovered
-- and none of them covered in a state that it is no longer in.
alter table delivery.send_attempts add column is_sealed boolean not null default true;
alter table delivery.send_attempts alter column is_sealed set default false;
create index send_attempts_unsealed on delivery.send_attempts (attempted_at) where not is_sealed;
create index send_attempts_batch on delivery.send_attempts (batch_key);

-- Requests whose answer was lost and that the provider would recognise.
create index messages_asked_again on delivery.messages (provider, next_attempt_at)
    where status = 'unknown' and next_attempt_at is not null;

-- How each provider's account stands: failures in a row, and until when it is left alone. A row
-- is there only while something is wrong.
create table delivery.provider_pauses (
    provider text primary key,
    failure_count integer not null,
    paused_until timestamptz,
    reason text not null
);
