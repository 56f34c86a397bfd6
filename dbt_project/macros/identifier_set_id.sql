{#- The id of the set of identifiers that a row carries; null when it carries none. -#}
{% macro identifier_set_id(columns=none) -%}
    md5(nullif(concat_ws(
        chr(31)
        {%- for column in columns or [
            'user_id', 'crm_contact_id', 'email', 'phone', 'device_id', 'anonymous_id',
            'previous_anonymous_id', 'ad_click_id', 'message_person_id'
        ] %},
        '{{ column }}:' || {{ column }}
        {%- endfor %}
    ), ''))::uuid
{%- endmacro %}
