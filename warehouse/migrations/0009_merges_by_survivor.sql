-- The gateway asks, within milliseconds, whom a person absorbed.
create index merges_survivor on identity.merges (survivor_person_id);
