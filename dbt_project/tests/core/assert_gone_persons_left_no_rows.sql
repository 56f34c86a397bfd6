-- A person absorbed in a merge who keeps rows is counted twice, and may be written to twice.
with gone as (
    select touched.person_id
    from ({{ persons_of_today() }}) as touched
    left join {{ ref('persons') }} as persons on touched.person_id = persons.person_id
    where persons.person_id is null
)

{% for model in [
    'person_days', 'person_chronology', 'sessions', 'send_time_responses',
    'int_person_days_accumulated'
] -%}
select
    '{{ model }}' as model,
    gone.person_id
from gone
where exists (
        select 1
        from {{ ref(model) }} as rows_of_persons
        where rows_of_persons.person_id = gone.person_id
    )
{% if not loop.last -%}
union all
{% endif %}
{%- endfor -%}
