{#-
    Incremental strategy `replace_changed`: the model says all rows, and only those that differ
    from the table's are written. Against rebuilding the table: its views stay, its readers never
    miss it, its statistics hold, and a day that changed little writes little.
-#}
{% macro get_incremental_replace_changed_sql(arg_dict) -%}
    {%- set target = arg_dict["target_relation"] -%}
    {%- set renewed = arg_dict["temp_relation"] -%}
    {%- set key = arg_dict["unique_key"] -%}
    {%- set key = [key] if key is string else key -%}
    {%- set columns = arg_dict["dest_columns"] | map(attribute="quoted") | list -%}
    delete from {{ target }} as target
    where not exists (
        select 1
        from {{ renewed }} as renewed
        where
            {% for column in key -%}
            renewed.{{ column }} = target.{{ column }} and
            {% endfor -%}
            (renewed.{{ columns | join(", renewed.") }})
            is not distinct from (target.{{ columns | join(", target.") }})
    );
    insert into {{ target }} ({{ columns | join(", ") }})
    select {{ columns | join(", ") }}
    from {{ renewed }} as renewed
    where not exists (
        select 1
        from {{ target }} as target
        where
            {% for column in key -%}
            renewed.{{ column }} = target.{{ column }}{{ " and " if not loop.last }}
            {%- endfor %}
    )
{%- endmacro %}
