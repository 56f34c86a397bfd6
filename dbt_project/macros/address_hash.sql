{#- How a contact point is named outside the wall; the same in `delivery` and in Python. -#}
{% macro address_hash(address) -%}
    encode(sha256(convert_to({{ address }}, 'UTF8')), 'hex')
{%- endmacro %}
