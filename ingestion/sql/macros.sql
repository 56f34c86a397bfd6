-- What every source's SQL shares: values as Postgres' COPY reads them, times, numbers.

-- A value in COPY's text format. `is_plain`: known to hold no character that needs escaping.
create or replace macro copied(value, is_plain) as coalesce(
    if(
        is_plain,
        value::varchar,
        replace(replace(replace(replace(
            value::varchar, '\', '\\'), chr(9), '\t'), chr(10), '\n'), chr(13), '\r')
    ),
    '\N'
);

-- UTC, as Postgres reads it in a session whose time zone is UTC. Casting a timestamptz to text
-- goes through the calendar library and took 4 times as long.
create or replace macro copied_time(value) as make_timestamp(epoch_us(value))::varchar;

create or replace macro is_decimal(value) as try_cast(value as decimal(38, 10)) is not null;

create or replace macro is_whole(value) as coalesce(
    try_cast(value as decimal(38, 10)) = trunc(try_cast(value as decimal(38, 10)))
    and abs(try_cast(value as decimal(38, 10))) < 9e15,
    false
);

create or replace macro has_zone(value) as
    regexp_matches(value, '\d:\d\d(:\d\d(\.\d+)?)? ?([zZ]|[+-]\d\d(:?\d\d)?)$');

-- An instant; one without an offset is local time in `zone`.
create or replace macro instant(value, zone) as if(
    has_zone(value),
    try_cast(value as timestamptz),
    timezone(zone, try_cast(value as timestamp))
);

create or replace macro is_sane_time(value) as
    value >= timestamptz '1990-01-01 00:00:00+00' and value < timestamptz '2100-01-01 00:00:00+00';

create or replace macro snake_case(value) as trim(
    lower(regexp_replace(
        regexp_replace(trim(value), '([a-z0-9])([A-Z])', '\1_\2', 'g'), '[^\p{L}\p{N}]+', '_', 'g'
    )),
    '_'
);

create or replace macro mail_address(value) as if(
    regexp_matches(trim(value), '^[^@\s,;]+@[^@\s,;]+$'), lower(trim(value)), null
);

-- A whole number that a spreadsheet or a data frame has turned into 17850.0.
create or replace macro plain_id(value) as regexp_replace(trim(value), '^(\d+)\.0$', '\1');
