{#-
    The persons whose rows a person-driven model must make anew: those touched after the highest
    touch among the model's own rows. A run that fails in between leaves the model's rows, and so
    its mark, as they were: the next run takes up both touches.
-#}
{% macro touched_persons() -%}
    select touched.person_id, touched.batch_id
    from {{ ref('int_persons_touched') }} as touched
    {%- if is_incremental() %}
    where touched.batch_id > {{ highest('batch_id', '0') }}
    {%- endif -%}
{%- endmacro %}

{#-
    Incremental strategy `replace_touched_persons`: the rows of touched persons are deleted, those
    of persons that no longer exist with them, and the new rows inserted. Plain delete+insert
    would keep the rows of a person who vanished in a merge. A model with a unique_key may bring
    rows of untouched persons too: they replace the rows of the same key.
-#}
{% macro get_incremental_replace_touched_persons_sql(arg_dict) -%}
    {%- set target = arg_dict["target_relation"] -%}
    {%- set columns = arg_dict["dest_columns"] | map(attribute="quoted") | join(", ") -%}
    delete from {{ target }} as target
    where target.person_id in (
        select touched.person_id
        from {{ ref('int_persons_touched') }} as touched
        where touched.batch_id > {{ highest('batch_id', '0', target) }}
    );
    {%- if arg_dict["unique_key"] %}
    {%- set key = arg_dict["unique_key"] | join(", ") %}
    delete from {{ target }} as target
    where ({{ key }}) in (select {{ key }} from {{ arg_dict["temp_relation"] }});
    {%- endif %}
    insert into {{ target }} ({{ columns }})
    select {{ columns }} from {{ arg_dict["temp_relation"] }}
{%- endmacro %}
