-- Few clusters were cut from a component: the others need no place in its index.
drop index ml.identity_clusters_component;
create index identity_clusters_component on ml.identity_clusters (component_id)
where component_id is not null;
