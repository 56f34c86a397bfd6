{#- Business time, the only "now" of a model. A scalar subquery, so that partitions are pruned. -#}
{% macro as_of() -%}
    (select workspace.as_of from {{ source('raw', 'workspace') }} as workspace)
{%- endmacro %}

{#- The zone that days of marts are days of. -#}
{% macro workspace_time_zone() -%}
    (select workspace.time_zone from {{ source('raw', 'workspace') }} as workspace)
{%- endmacro %}

{#- The currency that amounts of marts are in. -#}
{% macro workspace_currency() -%}
    (select workspace.currency from {{ source('raw', 'workspace') }} as workspace)
{%- endmacro %}
