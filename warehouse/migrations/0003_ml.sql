-- ml: what the models say. Written by assets through the warehouse, read by dbt as sources.
create schema ml;

create table ml.identity_verdicts (
    left_type text not null,
    left_value text not null,
    right_type text not null,
    right_value text not null,
    verdict text not null check (verdict in ('accepted', 'rejected')),
    reason text,
    primary key (left_type, left_value, right_type, right_value)
);

create table ml.identity_clusters (
    cluster_id text not null,
    identifier_type text not null,
    identifier_value text not null,
    primary key (identifier_type, identifier_value)
);

create table ml.churn_scores (
    person_id text primary key,
    as_of timestamptz not null,
    churn_probability double precision not null,
    reasons jsonb not null,
    model_version text not null
);

create table ml.purchase_propensities (
    person_id text not null,
    as_of timestamptz not null,
    horizon_days integer not null,
    purchase_probability double precision not null,
    model_version text not null,
    primary key (person_id, horizon_days)
);

create table ml.lifetime_values (
    person_id text primary key,
    as_of timestamptz not null,
    horizon_days integer not null,
    expected_orders double precision not null,
    expected_revenue_amount double precision not null,
    model_version text not null
);

create table ml.lead_scores (
    deal_id text primary key,
    as_of timestamptz not null,
    win_probability double precision not null,
    reasons jsonb not null,
    model_version text not null
);

create table ml.send_times (
    person_id text not null,
    channel text not null,
    probabilities real[] not null check (cardinality(probabilities) = 168),
    best_hour_of_week integer not null check (best_hour_of_week between 0 and 167),
    model_version text not null,
    primary key (person_id, channel)
);

create table ml.send_time_priors (
    persona_id text,
    channel text not null,
    probabilities real[] not null check (cardinality(probabilities) = 168),
    model_version text not null,
    unique nulls not distinct (persona_id, channel)
);

create table ml.personas (
    persona_id text primary key,
    name text not null,
    description text not null,
    size bigint not null,
    profile jsonb not null,
    since_at timestamptz not null,
    retired_at timestamptz
);

create table ml.person_personas (
    person_id text primary key,
    persona_id text,
    membership_probability double precision not null,
    as_of timestamptz not null
);

create table ml.topic_affinities (
    person_id text not null,
    topic text not null,
    affinity double precision not null,
    evidence_count bigint not null,
    last_at timestamptz not null,
    primary key (person_id, topic)
);

create table ml.bandit_posteriors (
    program text not null,
    persona_id text,
    arm text not null,
    alpha double precision not null check (alpha > 0),
    beta double precision not null check (beta > 0),
    matured_count bigint not null,
    pending_count bigint not null,
    updated_at timestamptz not null,
    unique nulls not distinct (program, persona_id, arm)
);

create table ml.channel_removal_effects (
    month date not null,
    channel text not null,
    removal_effect double precision not null,
    credited_conversions double precision not null,
    version text not null,
    primary key (month, channel, version)
);

create table ml.model_cards (
    model text not null,
    model_version text not null,
    trained_at timestamptz not null,
    as_of timestamptz not null,
    metrics jsonb not null,
    gate text not null check (gate in ('passed', 'refused')),
    reason text not null,
    is_champion boolean not null,
    primary key (model, model_version)
);
create unique index model_cards_one_champion on ml.model_cards (model) where is_champion;
comment on column ml.model_cards.trained_at is 'Business time at which the model was trained.';

create table ml.policy_evaluations (
    program text not null,
    policy text not null,
    estimator text not null,
    value double precision not null,
    lower double precision not null,
    upper double precision not null,
    effective_sample_size double precision not null,
    evaluated_at timestamptz not null,
    primary key (program, policy, estimator, evaluated_at)
);
