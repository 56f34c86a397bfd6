-- identity: the part of the person graph that must outlive every rebuild. dbt makes the rest.
create schema identity;

create table identity.person_id_ledger (
    identifier_type text not null,
    identifier_value text not null,
    person_id text not null,
    founded_at timestamptz not null,
    primary key (identifier_type, identifier_value)
);
comment on table identity.person_id_ledger is
'Which person each identifier founded: the memory that keeps person_id stable through rebuilds.';

create table identity.merges (
    merge_id text primary key,
    survivor_person_id text not null,
    absorbed_person_id text not null,
    merged_at timestamptz not null,
    evidence jsonb not null,
    undone_at timestamptz,
    undone_by text
);
create index merges_absorbed on identity.merges (absorbed_person_id);

create table identity.link_proposals (
    left_contact_id text not null,
    right_contact_id text not null,
    match_probability double precision not null,
    explanation jsonb not null,
    status text not null check (status in ('proposed', 'accepted', 'rejected')),
    decided_by text,
    decided_at timestamptz,
    primary key (left_contact_id, right_contact_id)
);

create table identity.link_rules (
    rule_id text primary key,
    action text not null check (action in ('include', 'exclude')),
    left_type text not null,
    left_value text not null,
    right_type text not null,
    right_value text not null,
    created_by text not null,
    reason text not null
);
