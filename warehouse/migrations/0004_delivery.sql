-- delivery: what was decided, said, spent and uploaded. Written by activations and the gateway.
create schema delivery;

create table delivery.assignments (
    person_id text not null,
    program text not null,
    assignment text not null check (assignment in ('policy', 'random', 'bau', 'holdout')),
    assigned_at timestamptz not null,
    contaminated_by text,
    primary key (person_id, program)
);

create table delivery.decisions (
    decision_id text primary key,
    as_of timestamptz not null,
    program text not null,
    person_id text not null,
    opportunity_id text not null,
    step integer not null,
    assignment text not null check (assignment in ('policy', 'random', 'bau', 'holdout')),
    arm text,
    propensity double precision,
    candidates jsonb not null,
    verdicts jsonb not null,
    outcome text not null check (outcome in ('send', 'silence')),
    reason text not null,
    model_versions jsonb not null,
    check ((outcome = 'send') = (arm is not null)),
    check (propensity > 0 and propensity <= 1)
);
create unique index decisions_sent_once on delivery.decisions (program, opportunity_id, step)
    where outcome = 'send';
create index decisions_person on delivery.decisions (person_id, program);
create index decisions_as_of on delivery.decisions (as_of);

create table delivery.messages (
    message_key text primary key,
    decision_id text not null references delivery.decisions,
    program text not null,
    person_id text not null,
    channel text not null,
    provider text not null,
    status text not null check (status in (
        'planned', 'reserved', 'sending', 'accepted', 'delivered', 'skipped', 'held', 'failed',
        'unknown'
    )),
    reason text,
    variant_id text not null,
    content_hash text not null,
    send_at timestamptz not null,
    expires_at timestamptz not null,
    sent_at timestamptz,
    provider_message_id text,
    address_hash text not null,
    batch_key text,
    leased_by text,
    lease_expires_at timestamptz,
    attempt_count integer not null default 0,
    next_attempt_at timestamptz,
    cost_amount numeric not null default 0
);
create index messages_due on delivery.messages (send_at) where status in ('planned', 'reserved');
create index messages_person on delivery.messages (person_id, sent_at);
create index messages_sending on delivery.messages (batch_key) where status = 'sending';
create index messages_provider_id on delivery.messages (provider, provider_message_id);

create table delivery.payloads (
    message_key text primary key references delivery.messages,
    body jsonb not null,
    created_at timestamptz not null
);
comment on table delivery.payloads is 'Rendered requests, with addresses: behind the wall.';

create table delivery.send_attempts (
    attempt_id text primary key,
    message_key text not null references delivery.messages,
    batch_key text not null,
    attempted_at timestamptz not null,
    outcome text not null,
    code text,
    detail text
);
create index send_attempts_message on delivery.send_attempts (message_key);
create index send_attempts_attempted on delivery.send_attempts (attempted_at);

create table delivery.copy_variants (
    variant_id text primary key,
    program text not null,
    persona_id text,
    channel text not null,
    locale text not null,
    arm text,
    subject text,
    body text not null,
    origin text not null check (origin in ('template', 'llm', 'person')),
    lint jsonb not null,
    status text not null check (status in ('draft', 'approved', 'rejected', 'retired')),
    approved_by text,
    content_hash text not null
);

create table delivery.reviews (
    review_id text primary key,
    kind text not null check (kind in ('copy', 'offer', 'person', 'budget')),
    subject_id text not null,
    requested_at timestamptz not null,
    decided_at timestamptz,
    decided_by text,
    decision text check (decision in ('approved', 'rejected')),
    note text
);

create table delivery.suppressions (
    channel text not null,
    address_hash text not null,
    reason text not null,
    since_at timestamptz not null,
    primary key (channel, address_hash)
);

create table delivery.consent_changes (
    channel text not null,
    address_hash text not null,
    scope text not null,
    status text not null check (status in ('granted', 'revoked')),
    source text not null,
    recorded_at timestamptz not null,
    primary key (channel, address_hash, scope, source, recorded_at)
);

create table delivery.budget_plans (
    plan_id text primary key,
    as_of timestamptz not null,
    platform text not null,
    campaign_id text not null,
    previous_amount numeric not null,
    proposed_amount numeric not null,
    approved_amount numeric,
    currency text not null,
    status text not null check (status in (
        'proposed', 'approved', 'pushed', 'confirmed', 'rejected', 'failed'
    )),
    reason text not null,
    unique (as_of, platform, campaign_id)
);

create table delivery.wallet_entries (
    entry_id text primary key,
    transaction_id text not null,
    account text not null,
    amount_minor bigint not null,
    currency text not null,
    occurred_at timestamptz not null,
    reference text not null
);
create index wallet_entries_account on delivery.wallet_entries (account, occurred_at);

create table delivery.conversion_uploads (
    conversion_id text not null,
    platform text not null,
    event_id text not null,
    status text not null check (status in (
        'planned', 'sending', 'uploaded', 'duplicate', 'skipped', 'failed', 'unknown'
    )),
    attempts integer not null,
    uploaded_at timestamptz,
    diagnostics jsonb not null,
    primary key (conversion_id, platform)
);

create table delivery.audit_log (
    sequence bigint primary key,
    occurred_at timestamptz not null,
    actor text not null,
    action text not null,
    subject text not null,
    digest text not null,
    row_count bigint not null,
    previous_hash text not null,
    hash text not null
);
