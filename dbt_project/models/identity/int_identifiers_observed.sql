{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key=['identifier_value', 'identifier_type'],
    indexes=[
        {'columns': ['identifier_value', 'identifier_type'], 'unique': true},
        {'columns': ['revision']},
        {'columns': ['reason']},
    ],
    pre_hook="{% if not is_incremental() %}set local enable_nestloop = off{% endif %}",
    post_hook="{{ distributed_by('identifier_value') }}",
) }}
{#- Right after a first build the planner has no figures of the tables below and would loop over
    all pairs: minutes instead of a second at 800 people. -#}
{%- set follows_the_day = is_incremental() and not identity_rules_changed() %}

with pairs as not materialized (
    select * from {{ ref('int_identifier_pairs_counted') }}
),

rules as (
    select * from {{ ref('int_identifier_rules') }}
),

-- A pair of an identifier with itself stands for it.
seen as materialized (
    select
        left_type as identifier_type,
        left_value as identifier_value,
        evidence_count,
        first_seen_at,
        last_seen_at
    from pairs
    where
        left_type = right_type and left_value = right_value
        and revision > {{ highest('revision', '0') if follows_the_day else '-1' }}
),

patterns as (
    select
        identifier_type,
        pattern
    from {{ ref('blocked_values') }}
    union all
    select
        coalesce(listed.value ->> 'identifier_type', '*'),
        listed.value ->> 'pattern'
    from {{ source('raw', 'workspace') }} as workspace
    cross join
        lateral jsonb_array_elements(
            coalesce(workspace.identity_rules -> 'blocked_values', '[]')
        ) as listed (value)
),

-- Values that name nobody.
blocked as (
    select distinct
        seen.identifier_type,
        seen.identifier_value
    from seen
    inner join patterns
        on
            patterns.identifier_type in ('*', seen.identifier_type)
            and seen.identifier_value ~* patterns.pattern
),

listed as (
    select
        mailbox_names.kind,
        words.name
    from {{ ref('mailbox_names') }} as mailbox_names
    cross join lateral unnest(string_to_array(mailbox_names.names, ' ')) as words (name)
    cross join {{ source('raw', 'workspace') }} as workspace
    where not coalesce(workspace.identity_rules -> 'linking_mailboxes' ? words.name, false)
),

-- A label after + belongs to the same mailbox.
addresses as materialized (
    select
        identifier_type,
        identifier_value,
        split_part(split_part(lower(identifier_value), '@', 1), '+', 1) as mailbox,
        split_part(lower(identifier_value), '@', 2) as domain
    from seen
    where identifier_type = 'email'
),

-- Addresses that name an office or nobody for long.
mailboxes as (
    select
        named.identifier_type,
        named.identifier_value,
        min(named.kind) || '_mailbox' as reason
    from (
        select
            addresses.*,
            listed.kind
        from addresses
        inner join listed on addresses.mailbox = listed.name and listed.kind = 'role'
        union all
        select
            addresses.*,
            listed.kind
        from addresses
        inner join listed on addresses.domain = listed.name and listed.kind = 'disposable'
    ) as named
    group by named.identifier_type, named.identifier_value
),

judged as (
    select
        seen.*,
        case
            when blocked.identifier_value is not null then 'blocked_value'
            else mailboxes.reason
        end as value_reason,
        {%- if follows_the_day %}
        coalesce(before.is_shared, false) as was_shared,
        before.identifier_value is null as is_new,
        before.reason as former_reason,
        before.revision as former_revision
        {%- else %}
        false as was_shared
        {%- endif %}
    from seen
    left join blocked
        on
            seen.identifier_type = blocked.identifier_type
            and seen.identifier_value = blocked.identifier_value
    left join mailboxes
        on
            seen.identifier_type = mailboxes.identifier_type
            and seen.identifier_value = mailboxes.identifier_value
    {%- if follows_the_day %}
    left join {{ this }} as before
        on
            seen.identifier_type = before.identifier_type
            and seen.identifier_value = before.identifier_value
    {%- endif %}
),

neighbours as (
    {%- for own, other in [('left', 'right'), ('right', 'left')] %}
    select
        judged.identifier_type,
        judged.identifier_value,
        pairs.{{ other }}_type as neighbour_type,
        pairs.{{ other }}_value as neighbour_value
    from judged
    inner join pairs
        on
            judged.identifier_value = pairs.{{ own }}_value
            and judged.identifier_type = pairs.{{ own }}_type
    where
        pairs.left_type <> pairs.right_type
        and judged.value_reason is null and not judged.was_shared
    {{ "union all" if not loop.last }}
    {%- endfor %}
),

nobodies as (
    select * from blocked
    {%- if follows_the_day %}
    union
    select
        identifier_type,
        identifier_value
    from {{ this }}
    where reason = 'blocked_value'
    {%- endif %}
),

-- Seen with more people than one person can be: a kiosk, a mailbox of a team, a lent telephone.
crowded as (
    select
        neighbours.identifier_type,
        neighbours.identifier_value
    from neighbours
    inner join rules as neighbour_rules
        on neighbours.neighbour_type = neighbour_rules.identifier_type
    inner join rules on neighbours.identifier_type = rules.identifier_type
    left join nobodies
        on
            neighbours.neighbour_type = nobodies.identifier_type
            and neighbours.neighbour_value = nobodies.identifier_value
    where neighbour_rules.is_strong and nobodies.identifier_value is null
    group by
        neighbours.identifier_type, neighbours.identifier_value, neighbours.neighbour_type,
        rules.max_strong_neighbours
    having count(*) > rules.max_strong_neighbours
),

shared as (
    select distinct
        identifier_type,
        identifier_value
    from crowded
),

marked as (
    select
        judged.*,
        coalesce(judged.value_reason = 'blocked_value', false) as is_blocked,
        judged.was_shared or shared.identifier_value is not null as is_shared,
        coalesce(
            judged.value_reason,
            case
                when judged.was_shared or shared.identifier_value is not null
                    then 'shared_identifier'
            end
        ) as reason
    from judged
    left join shared
        on
            judged.identifier_type = shared.identifier_type
            and judged.identifier_value = shared.identifier_value
),

-- Once, not once for each identifier.
latest as materialized (
    select max(revision) as revision from pairs
),

digest as materialized (
    select max(rules_digest) as rules_digest from rules
)

-- revision: when the identifier came, or its reason changed.
select
    marked.identifier_type,
    marked.identifier_value,
    marked.evidence_count,
    marked.first_seen_at,
    marked.last_seen_at,
    marked.is_blocked,
    marked.is_shared,
    marked.reason,
    {%- if follows_the_day %}
    case
        when marked.is_new or coalesce(marked.reason, '') <> coalesce(marked.former_reason, '')
            then latest.revision
        else marked.former_revision
    end as revision,
    {%- else %}
    latest.revision,
    {%- endif %}
    digest.rules_digest
from marked
cross join latest
cross join digest
