{#-
    Incremental strategy `trace_changes`: the model says the facts of the persons concerned; only
    facts that are new or say something else are written, under the next change_number, so that
    readers redo what changed and nothing more. A fact that a touched person has no more stays as
    a row with is_gone, so that the days it stood on are redone too. Columns that tell when a row
    was made (batch_id, change_number) are no part of what it says.
-#}
{% macro get_incremental_trace_changes_sql(arg_dict) -%}
    {%- set target = arg_dict["target_relation"] -%}
    {%- set facts = arg_dict["temp_relation"] -%}
    {%- set key = arg_dict["unique_key"] -%}
    {%- set columns = arg_dict["dest_columns"] | map(attribute="name") | list -%}
    {%- set said = columns | reject("in", ["batch_id", "change_number"]) | list -%}
    update {{ target }} as target
    set
        is_gone = true,
        batch_id = (select max(batch_id) from {{ ref('int_persons_touched') }}),
        change_number = {{ highest('change_number', '0', target) }}::bigint + 1
    where
        not target.is_gone
        and target.person_id in (
            select touched.person_id
            from {{ ref('int_persons_touched') }} as touched
            where touched.batch_id > {{ highest('batch_id', '0', target) }}
        )
        and not exists (select 1 from {{ facts }} as facts where facts.{{ key }} = target.{{ key }});
    delete from {{ facts }} as facts
    using {{ target }} as target
    where
        facts.{{ key }} = target.{{ key }}
        and (facts.{{ said | join(", facts.") }})
        is not distinct from (target.{{ said | join(", target.") }});
    delete from {{ target }} as target
    using {{ facts }} as facts
    where facts.{{ key }} = target.{{ key }};
    insert into {{ target }} ({{ columns | join(", ") }})
    select {{ columns | join(", ") }} from {{ facts }}
{%- endmacro %}

{#- The facts that a reader of int_person_facts_traced has not taken up yet. -#}
{% macro newly_traced(relation=this) -%}
    change_number > {{ highest('change_number', '0', relation) }}
{%- endmacro %}

{#- Incremental strategy `replace_traced`: rows of the conversions that changed are made anew. -#}
{% macro get_incremental_replace_traced_sql(arg_dict) -%}
    {%- set target = arg_dict["target_relation"] -%}
    {%- set columns = arg_dict["dest_columns"] | map(attribute="quoted") | join(", ") -%}
    delete from {{ target }} as target
    where target.{{ arg_dict["unique_key"] }} in (
        select fact_id from {{ ref('int_person_facts_traced') }}
        where {{ newly_traced(target) }}
    );
    insert into {{ target }} ({{ columns }})
    select {{ columns }} from {{ arg_dict["temp_relation"] }}
{%- endmacro %}

{#-
    The days that channel_performance must make anew: those with facts that changed, those with
    spend that changed, and those of visits and orders under a name that has become a campaign's.
-#}
{% macro changed_days(relation=this) -%}
    select date from {{ ref('int_person_facts_traced') }}
    where {{ newly_traced(relation) }}
    union
    select date from {{ ref('int_ad_spend_converted') }}
    where
        batch_id > {{ highest('spend_batch_id', '0', relation) }}
        or date > {{ highest('date', "'-infinity'", relation) }}
    union
    select traced.date
    from {{ ref('int_campaigns_named') }} as named
    inner join {{ ref('int_person_facts_traced') }} as traced
        on
            named.utm_campaign = lower(traced.campaign)
            or named.utm_campaign = any(lower(traced.campaigns::text)::text[])
    where named.first_batch_id > {{ highest('spend_batch_id', '0', relation) }}
{%- endmacro %}

{#- Incremental strategy `replace_changed_days`: rows of the days that changed are made anew. -#}
{% macro get_incremental_replace_changed_days_sql(arg_dict) -%}
    {%- set target = arg_dict["target_relation"] -%}
    {%- set columns = arg_dict["dest_columns"] | map(attribute="quoted") | join(", ") -%}
    delete from {{ target }} as target
    where target.date in ({{ changed_days(target) }});
    insert into {{ target }} ({{ columns }})
    select {{ columns }} from {{ arg_dict["temp_relation"] }}
{%- endmacro %}

{#-
    The persons whose facts int_person_facts_traced must look at anew: those touched since, those
    whose sale was refunded under a touched person's name, those who got their first persona, and
    those whose conversions have learned which closed month speaks for them.
-#}
{% macro persons_concerned() -%}
    {%- set touched -%}{{ touched_persons() }}{%- endset -%}
    select touched.person_id from ({{ touched }}) as touched
    {%- if is_incremental() %}
    union
    select sales.person_id
    from ({{ touched }}) as touched
    inner join {{ ref('orders') }} as refunds on touched.person_id = refunds.person_id
    inner join {{ ref('orders') }} as sales on refunds.refunded_order_id = sales.order_id
    where sales.person_id is not null
    union
    select dated.person_id
    from {{ ref('int_person_personas_dated') }} as dated
    group by dated.person_id
    having min(dated.since_at) >= {{ highest('date', "'-infinity'") }}::date
    {%- set taught_by = highest('effects_month', 'none') %}
    union
    select before.person_id
    from {{ this }} as before
    inner join {{ ref('int_months_closed') }} as closed
        on before.date >= closed.valid_from and before.date < closed.valid_until
    where
        before.kind = 'conversion'
        and before.effects_month is distinct from closed.month
        {%- if taught_by != 'none' %}
        and before.date >= {{ taught_by }}::date + interval '1 month'
        {%- endif %}
    {%- endif %}
{%- endmacro %}
