-- A person absorbed in a merge who keeps rows is counted twice, and may be written to twice.
with persons as (
    select * from {{ ref('persons') }}
),

rows_of_persons as (
    select distinct person_id from {{ ref('person_days') }}
    union
    select distinct person_id from {{ ref('person_chronology') }}
    union
    select distinct person_id from {{ ref('send_time_responses') }}
)

select rows_of_persons.person_id
from rows_of_persons
left join persons on rows_of_persons.person_id = persons.person_id
where persons.person_id is null
