{{ config(materialized='view') }}
{%- set limits = [
    ('priority', 'integer'), ('is_unique', 'boolean'), ('max_per_person', 'integer'),
    ('counts_in_size', 'boolean'), ('is_strong', 'boolean'), ('max_strong_neighbours', 'integer')
] %}

with seeded as (
    select * from {{ ref('identifier_rules') }}
),

-- What the configuration says of a type; a type that the seed does not know is added.
overridden as (
    select
        overrides.key as identifier_type,
        overrides.value as said
    from {{ source('raw', 'workspace') }} as workspace
    cross join
        lateral jsonb_each(
            coalesce(workspace.identity_rules -> 'types', '{}')
        ) as overrides (key, value)
    union all
    select
        '*',
        jsonb_build_object('max_per_person', workspace.identity_rules -> 'largest_person')
    from {{ source('raw', 'workspace') }} as workspace
    where workspace.identity_rules -> 'largest_person' is not null
),

-- Any rule that changed makes every identifier be judged, and the graph resolved, anew.
digested as (
    select
        md5(concat_ws(
            chr(31),
            (select workspace.identity_rules from {{ source('raw', 'workspace') }} as workspace),
            (
                select string_agg(seeded::text, chr(31) order by seeded.identifier_type)
                from seeded
            ),
            (
                select string_agg(listed::text, chr(31) order by listed::text)
                from {{ ref('blocked_values') }} as listed
            ),
            (
                select string_agg(listed::text, chr(31) order by listed::text)
                from {{ ref('mailbox_names') }} as listed
            )
        )) as rules_digest
)

select
    coalesce(seeded.identifier_type, overridden.identifier_type) as identifier_type,
    {%- for name, kind in limits %}
    {%- if name in ('priority', 'is_unique', 'counts_in_size', 'is_strong') %}
    coalesce(
        (overridden.said ->> '{{ name }}')::{{ kind }},
        seeded.{{ name }},
        {{ {'priority': '1000', 'counts_in_size': 'true'}.get(name, 'false') }}
    ) as {{ name }},
    {%- else %}
    coalesce((overridden.said ->> '{{ name }}')::{{ kind }}, seeded.{{ name }})
        as {{ name }},
    {%- endif %}
    {%- endfor %}
    digested.rules_digest
from seeded
full outer join overridden on seeded.identifier_type = overridden.identifier_type
cross join digested
