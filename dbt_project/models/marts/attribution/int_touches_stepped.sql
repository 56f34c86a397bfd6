{{ config(materialized='view', contract={'enforced': false}) }}

with

touchpoints as (
    select * from {{ ref('touchpoints') }}
),

look_backs as (
    select * from {{ ref('attribution_look_backs') }}
),

kinds as (
    select
        touchpoints.*,
        coalesce(own.interaction, general.interaction) as interaction,
        make_interval(
            secs => coalesce(own.look_back_days, general.look_back_days)::double precision * 86400
        ) as look_back
    from touchpoints
    left join look_backs as own
        on touchpoints.channel = own.channel and touchpoints.kind = own.kind
    left join look_backs as general
        on touchpoints.kind = general.kind and general.channel = 'any'
    where coalesce(own.interaction, general.interaction) is not null
),

-- One contact leaves several traces: a click and, a moment later, the visit it starts.
-- Of the same channel and campaign only the first trace within the gap is a step of a path.
traces as (
    select
        kinds.*,
        kinds.touched_at - lag(kinds.touched_at) over (
            partition by kinds.person_id, kinds.interaction, kinds.channel, kinds.campaign
            order by kinds.touched_at, kinds.touchpoint_id
        ) <= interval '{{ var("attribution_gap_minutes", 30) }} minutes' as is_repeated
    from kinds
),

stepped as (
    select * from traces
    where is_repeated is not true
)

select * from stepped
