{{ config(
    materialized='incremental',
    incremental_strategy='trace_changes',
    unique_key='fact_id',
    contract={'enforced': false},
    indexes=[
        {'columns': ['fact_id'], 'unique': true},
        {'columns': ['person_id']},
        {'columns': ['date']},
        {'columns': ['change_number']},
        {'columns': ['batch_id']},
        {'columns': ['effects_month']},
    ],
    pre_hook="set local enable_nestloop = off",
) }}

-- depends_on: {{ ref('orders') }}

with

persons_concerned as (
    {{ persons_concerned() }}
),

-- An array, not a join: only a constant condition reaches the tables below the windows.
conversions as (
    select * from {{ ref('int_conversions_valued') }}
    {%- if is_incremental() %}
    where person_id = any(array(select persons_concerned.person_id from persons_concerned))
    {%- endif %}
),

steps as (
    select * from {{ ref('int_paths_numbered') }}
    {%- if is_incremental() %}
    where person_id = any(array(select persons_concerned.person_id from persons_concerned))
    {%- endif %}
),

visits as (
    select * from {{ ref('touchpoints') }}
    where
        kind = 'visit' and campaign is not null
        {%- if is_incremental() %}
        and person_id = any(array(select persons_concerned.person_id from persons_concerned))
        {%- endif %}
),

profiles as (
    select * from {{ ref('profiles') }}
),

-- The first persona given also covers the time before it: a buyer has none at the first order,
-- and that order is what acquisition cost is about.
held as (
    select
        dated.person_id,
        dated.persona_id,
        case when lag(dated.since_at) over by_time is null then '-infinity' else dated.since_at end
            as valid_from,
        lead(dated.since_at, 1, 'infinity') over by_time as valid_until
    from {{ ref('int_person_personas_dated') }} as dated
    window by_time as (partition by dated.person_id order by dated.since_at)
),

closed_months as (
    select * from {{ ref('int_months_closed') }}
),

paths as (
    select
        steps.conversion_id,
        min(steps.interaction) as interaction,
        array_agg(steps.touchpoint_id order by steps.number) as touchpoint_ids,
        array_agg(steps.channel order by steps.number) as channels,
        array_agg(steps.campaign order by steps.number) as campaigns,
        array_agg(steps.program order by steps.number) as programs,
        array_agg(steps.touched_at order by steps.number) as moments,
        array_agg(distinct steps.channel order by steps.channel) as coalition
    from steps
    group by steps.conversion_id
),

facts as (
    select
        conversions.conversion_id as fact_id,
        'conversion' as kind,
        conversions.person_id,
        conversions.date,
        conversions.converted_at as happened_at,
        conversions.country,
        null as channel,
        null as campaign,
        conversions.revenue_amount
    from conversions
    union all
    select
        visits.touchpoint_id as fact_id,
        'visit' as kind,
        visits.person_id,
        (visits.touched_at at time zone {{ workspace_time_zone() }})::date as date,
        visits.touched_at as happened_at,
        profiles.country,
        visits.channel,
        visits.campaign,
        null as revenue_amount
    from visits
    left join profiles on visits.person_id = profiles.person_id
)

select
    facts.*,
    paths.interaction,
    paths.touchpoint_ids,
    paths.channels,
    paths.campaigns,
    paths.programs,
    paths.moments,
    paths.coalition,
    closed_months.month as effects_month,
    held.persona_id,
    false as is_gone,
    (select max(touched.batch_id) from {{ ref('int_persons_touched') }} as touched) as batch_id,
    {{ highest('change_number', '0') }}::bigint + 1 as change_number
from facts
left join paths on facts.kind = 'conversion' and facts.fact_id = paths.conversion_id
left join closed_months
    on
        facts.kind = 'conversion'
        and facts.date >= closed_months.valid_from
        and facts.date < closed_months.valid_until
left join held
    on
        facts.person_id = held.person_id
        and facts.happened_at >= held.valid_from
        and facts.happened_at < held.valid_until
