{#-
    The rows of `relation` that an incremental model has not read yet: those of later batches, and
    those of earlier batches whose time has come since. Both watermarks are kept in the model's
    own table: batch_id, and the latest moment read. What was read has a batch up to the first
    and a moment up to the second; what was not fails one of the two, so nothing is read twice.
    Two branches, because an index serves each but not their disjunction.
-#}
{% macro newly_known(relation, moment, own_moment) -%}
    {%- if is_incremental() -%}
    {%- set batch = highest('batch_id', '0') -%}
    select relation.*
    from {{ relation }} as relation
    where relation.batch_id > {{ batch }}
    union all
    select relation.*
    from {{ relation }} as relation
    where
        relation.{{ moment }} > {{ highest(own_moment, "'-infinity'") }}
        and relation.batch_id <= {{ batch }}
    {%- else -%}
    select relation.* from {{ relation }} as relation
    {%- endif -%}
{%- endmacro %}
