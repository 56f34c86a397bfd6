{#-
    For data tests: the persons whose rows the last run made. What held yesterday and was not
    touched holds, so that a daily test costs what the day brought; after a first build it is
    everybody.
-#}
{% macro persons_of_today() -%}
    select touched.person_id
    from {{ ref('int_persons_touched') }} as touched
    where touched.batch_id = (select max(latest.batch_id) from {{ ref('int_persons_touched') }} as latest)
{%- endmacro %}
