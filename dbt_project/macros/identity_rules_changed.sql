{#- Whether the rules are others than those by which the model's rows were judged. -#}
{% macro identity_rules_changed() -%}
    {%- if not execute or load_relation(this) is none -%}
        {{- return(false) -}}
    {%- endif -%}
    {%- set said -%}
        select
            (select rules_digest from {{ this }} limit 1)
            is distinct from (select max(rules_digest) from {{ ref('int_identifier_rules') }})
    {%- endset -%}
    {{- return(run_query(said)[0][0]) -}}
{%- endmacro %}

{#-
    The number of a run's changes, for those who follow a table: the batch sequence, pushed on by
    one where no batch came between, so that it grows with every run that changes rows. Read from
    the table as it was before a full refresh too.
-#}
{% macro next_revision() -%}
    greatest(
        (select coalesce(max(landed.batch_id), 0) from {{ ref('stg_raw__batches') }} as landed)
        {%- if execute and load_relation(this) is not none %},
        {{ highest('revision', '0') }}::bigint + 1
        {%- endif %}
    )
{%- endmacro %}
