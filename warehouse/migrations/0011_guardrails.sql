-- House rules of this workspace, as its configuration gives them, and switches that stop sending
-- at once: read at planning and again at the moment of sending.
alter table raw.workspace add column guardrails jsonb not null default '{}';

create table delivery.kill_switches (
    switch_id text primary key,
    kind text not null check (kind in ('everything', 'program', 'channel')),
    name text not null,
    off_at timestamptz not null,
    off_by text not null,
    reason text not null,
    on_at timestamptz,
    on_by text
);
create unique index kill_switches_off on delivery.kill_switches (kind, name) where on_at is null;
comment on table delivery.kill_switches is 'One row per stop; in force until on_at is set.';
