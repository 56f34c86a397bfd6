{#-
    The persons whose rows a person-driven model must make anew: those touched at or after the
    highest mark among the model's own rows. "At" because the last run may have failed after it
    marked them; doing so again changes nothing.
-#}
{% macro touched_persons() -%}
    select touched.person_id, touched.batch_id
    from {{ ref('int_persons_touched') }} as touched
    {%- if is_incremental() %}
    where touched.batch_id >= (select coalesce(max(own.batch_id), 0) from {{ this }} as own)
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
        where touched.batch_id >= (select coalesce(max(own.batch_id), 0) from {{ target }} as own)
    );
    {%- if arg_dict["unique_key"] %}
    {%- set key = arg_dict["unique_key"] | join(", ") %}
    delete from {{ target }} as target
    where ({{ key }}) in (select {{ key }} from {{ arg_dict["temp_relation"] }});
    {%- endif %}
    insert into {{ target }} ({{ columns }})
    select {{ columns }} from {{ arg_dict["temp_relation"] }}
{%- endmacro %}
