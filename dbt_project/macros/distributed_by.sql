{#-
    Post-hook: spreads a table over the workers by `column` where Citus is installed, and does
    nothing on a single Postgres. Every unique key of such a table must contain the column.
-#}
{% macro distributed_by(column) -%}
do $$
begin
    if exists (select from pg_catalog.pg_extension where extname = 'citus') then
        if not exists (
            select from pg_dist_partition
            where logicalrelid = '{{ this.schema }}.{{ this.identifier }}'::regclass
        ) then
            perform create_distributed_table(
                '{{ this.schema }}.{{ this.identifier }}', '{{ column }}'
            );
        end if;
    end if;
end
$$
{%- endmacro %}
