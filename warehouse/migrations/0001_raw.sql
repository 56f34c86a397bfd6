-- raw: what the sources said, as it arrived. Written by ingestion only; behind the wall.
create schema raw;

create table raw.workspace (
    is_only boolean primary key default true check (is_only),
    workspace text not null,
    as_of timestamptz,
    previous_as_of timestamptz,
    currency text not null,
    time_zone text not null,
    country text not null
);
comment on table raw.workspace is 'One row: business time and the settings that transforming SQL may read.';

create table raw.batches (
    batch_id bigint generated always as identity primary key,
    source text not null,
    location text not null,
    content_hash text not null,
    started_at timestamptz not null,
    finished_at timestamptz,
    rows_read bigint not null default 0,
    rows_loaded bigint not null default 0,
    rows_duplicate bigint not null default 0,
    rows_rejected bigint not null default 0,
    status text not null check (status in ('loaded', 'held', 'failed')),
    reason text,
    check (rows_read = rows_loaded + rows_duplicate + rows_rejected)
);
create unique index batches_loaded_once on raw.batches (source, content_hash)
    where status = 'loaded';

create table raw.rejects (
    reject_id bigint generated always as identity primary key,
    batch_id bigint not null references raw.batches,
    source text not null,
    line_number bigint not null,
    reason text not null,
    row jsonb,
    replayed_at timestamptz
);
create index rejects_batch on raw.rejects (batch_id);

create table raw.event_ids (
    event_id text primary key,
    content_hash uuid not null,
    occurred_at timestamptz not null,
    batch_id bigint not null
);

create table raw.events (
    event_id text not null,
    source text not null,
    type text not null,
    channel text not null,
    occurred_at timestamptz not null,
    received_at timestamptz not null,
    batch_id bigint not null,
    anonymous_id text,
    user_id text,
    email text,
    phone text,
    device_id text,
    identifiers jsonb,
    context jsonb,
    properties jsonb,
    order_id text,
    revenue_amount numeric,
    currency text
) partition by range (occurred_at);
-- Rows of one batch lie together on disk, so a block range index finds a delta at no cost.
create index events_batch on raw.events using brin (batch_id) with (pages_per_range = 32);

create table raw.order_lines (
    source text not null,
    order_id text not null,
    line_number integer not null,
    kind text not null check (kind in ('sale', 'credit_note', 'adjustment')),
    product_id text,
    description text,
    quantity numeric not null,
    unit_price_amount numeric not null,
    currency text not null,
    ordered_at timestamptz not null,
    customer_id text,
    country text,
    batch_id bigint not null,
    primary key (source, order_id, line_number)
);
create index order_lines_batch on raw.order_lines using brin (batch_id);
create index order_lines_ordered on raw.order_lines (ordered_at);

create table raw.crm_contacts (
    source text not null,
    contact_id text not null,
    email text,
    phone text,
    first_name text,
    last_name text,
    city text,
    region text,
    country text,
    postal_code text,
    birth_date date,
    time_zone text,
    locale text,
    properties jsonb,
    updated_at timestamptz not null,
    batch_id bigint not null,
    primary key (source, contact_id, updated_at, batch_id)
);

create table raw.crm_consents (
    source text not null,
    identifier_type text not null,
    identifier_value text not null,
    channel text not null,
    scope text not null,
    status text not null check (status in ('granted', 'revoked', 'unknown')),
    regulation text,
    evidence text,
    recorded_at timestamptz not null,
    batch_id bigint not null,
    primary key (source, identifier_type, identifier_value, channel, scope, recorded_at, status)
);

create table raw.crm_deals (
    source text not null,
    deal_id text not null,
    contact_id text,
    stage text not null,
    amount numeric,
    currency text,
    created_at timestamptz not null,
    closed_at timestamptz,
    is_won boolean,
    properties jsonb,
    batch_id bigint not null,
    primary key (source, deal_id, batch_id)
);

create table raw.products (
    product_id text not null,
    name text not null,
    category text,
    price_amount numeric,
    currency text,
    url text,
    image_url text,
    in_stock boolean,
    description text,
    batch_id bigint not null,
    primary key (product_id, batch_id)
);

create table raw.ad_spend (
    date date not null,
    platform text not null,
    account_id text not null,
    campaign_id text not null,
    campaign_name text,
    ad_set_id text not null default '',
    channel text not null,
    impressions bigint not null,
    clicks bigint not null,
    spend_amount numeric not null,
    currency text not null,
    platform_conversions numeric,
    platform_revenue_amount numeric,
    batch_id bigint not null,
    primary key (date, platform, account_id, campaign_id, ad_set_id, batch_id)
);

create table raw.currency_rates (
    date date not null,
    currency text not null,
    rate_to_workspace numeric not null check (rate_to_workspace > 0),
    batch_id bigint not null,
    primary key (date, currency, batch_id)
);

create table raw.provider_events (
    provider text not null,
    provider_event_id text not null,
    message_key text,
    type text not null,
    occurred_at timestamptz not null,
    payload jsonb not null,
    received_at timestamptz not null,
    batch_id bigint not null,
    primary key (provider, provider_event_id)
);
create index provider_events_message on raw.provider_events (message_key);
create index provider_events_batch on raw.provider_events using brin (batch_id);
