-- identity.link_proposals: a name by which a review can speak of a pair without naming contacts.
alter table identity.link_proposals add column proposal_id text unique;
alter table identity.link_proposals alter column proposal_id set not null;
