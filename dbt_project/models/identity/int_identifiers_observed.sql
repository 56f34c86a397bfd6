{{ config(
    materialized='incremental',
    incremental_strategy='replace_changed',
    unique_key=['identifier_value', 'identifier_type'],
    indexes=[{'columns': ['identifier_value', 'identifier_type'], 'unique': true}],
    pre_hook="set local enable_nestloop = off",
    post_hook="{{ distributed_by('identifier_value') }}",
) }}
-- Right after a first build the planner has no figures of the tables below and loops over all
-- pairs: minutes instead of a second at 800 people.

with pairs as (
    select * from {{ ref('int_identifier_pairs_counted') }}
),

rules as (
    select * from {{ ref('identifier_rules') }}
),

identifiers as (
    select
        left_type as identifier_type,
        left_value as identifier_value,
        evidence_count,
        first_seen_at,
        last_seen_at,
        is_blocked
    from pairs
    where left_type = right_type and left_value = right_value
),

neighbours as (
    select
        left_type,
        left_value,
        right_type as neighbour_type
    from pairs
    where left_type <> right_type
    union all
    select
        right_type,
        right_value,
        left_type
    from pairs
    where left_type <> right_type
),

-- Seen with more people than one person can be: a kiosk, a mailbox of a team, a lent telephone.
crowded as (
    select
        neighbours.left_type as identifier_type,
        neighbours.left_value as identifier_value
    from neighbours
    inner join rules as neighbour_rules
        on neighbours.neighbour_type = neighbour_rules.identifier_type
    inner join rules on neighbours.left_type = rules.identifier_type
    where neighbour_rules.is_strong
    group by
        neighbours.left_type, neighbours.left_value, neighbours.neighbour_type,
        rules.max_strong_neighbours
    having count(*) > rules.max_strong_neighbours
),

shared as (
    select distinct
        identifier_type,
        identifier_value
    from crowded
)

select
    identifiers.identifier_type,
    identifiers.identifier_value,
    identifiers.evidence_count,
    identifiers.first_seen_at,
    identifiers.last_seen_at,
    identifiers.is_blocked,
    shared.identifier_value is not null as is_shared,
    case
        when identifiers.is_blocked then 'blocked_value'
        when shared.identifier_value is not null then 'shared_identifier'
    end as reason
from identifiers
left join shared
    on
        identifiers.identifier_type = shared.identifier_type
        and identifiers.identifier_value = shared.identifier_value
