-- The person graph follows the day: what was resolved, up to which evidence, under which rules.

-- Overrides of dbt's seeds from the configuration (`identity:`), for transforming SQL to read.
alter table raw.workspace add column identity_rules jsonb not null default '{}';

-- cluster_id null: an identifier that belongs to nobody (blocked, shared, a mailbox of many).
-- component_id: what the clusters that were cut from one component share; null when none was cut.
-- resolution: the resolution that last changed the row.
alter table ml.identity_clusters
    alter column cluster_id drop not null,
    add column component_id text,
    add column resolution bigint not null default 0;
create index identity_clusters_cluster on ml.identity_clusters (cluster_id);
create index identity_clusters_component on ml.identity_clusters (component_id);
create index identity_clusters_resolution on ml.identity_clusters (resolution);

create table ml.identity_resolved (
    is_only boolean primary key default true check (is_only),
    evidence_revision bigint not null,
    resolution bigint not null,
    rules_digest text not null
);
comment on table ml.identity_resolved is
'One row: the evidence that was resolved, the number of the last resolution that changed a cluster,
and the rules it went by.';

create table ml.identity_moves (
    resolution bigint not null,
    identifier_type text not null,
    identifier_value text not null,
    from_person_id text not null,
    to_person_id text,
    moved_at timestamptz not null,
    primary key (resolution, identifier_type, identifier_value)
);
comment on table ml.identity_moves is
'One row for each time an identifier left a person: by merge, split, or a new mark on it.';

create index person_id_ledger_person on identity.person_id_ledger (person_id);
