-- What a closed month says about its channels; written once a month, never restated.
alter table ml.channel_removal_effects add column shapley_conversions double precision;

create table ml.channel_coalitions (
    month date not null,
    channels text[] not null,
    journey_count bigint not null check (journey_count > 0),
    conversion_count bigint not null check (conversion_count between 0 and journey_count),
    version text not null,
    primary key (month, channels, version)
);
