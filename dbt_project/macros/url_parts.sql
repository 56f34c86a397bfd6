{#- Parts of an absolute address, without query and fragment. -#}
{% macro url_path(url) -%}
    substring({{ url }} from '^[a-zA-Z]+://[^/?#]+([^?#]*)')
{%- endmacro %}

{% macro url_domain(url) -%}
    lower(substring({{ url }} from '^[a-zA-Z]+://(?:www[.])?([^/?#:]+)'))
{%- endmacro %}
