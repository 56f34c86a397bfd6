{#-
    The highest value of a column of the model's own table, as a literal (none: `otherwise`).
    Asked for beforehand and not in a subquery, because the planner takes "greater than an unknown"
    for a third of the table and reads all history; for a value above all others it takes an index.
-#}
{% macro highest(column, otherwise, relation=this) -%}
    {%- if execute and load_relation(relation) is not none -%}
        {%- set value = run_query("select max(" ~ column ~ ")::text from " ~ relation)[0][0] -%}
        {{- "'" ~ value ~ "'" if value is not none else otherwise -}}
    {%- else -%}
        {{- otherwise -}}
    {%- endif -%}
{%- endmacro %}
