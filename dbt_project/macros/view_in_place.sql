{#-
    Views are replaced in place. dbt's own way, a new view under the old name, drops all views
    that stand on the old one until their turn comes, and for good when the run fails before it.
    Postgres replaces a view only while its columns stay; otherwise it goes with its dependents.
-#}
{% materialization view, adapter='postgres' -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- set target = this.incorporate(type='view') -%}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {%- if existing is not none and not existing.is_view -%}
        {%- do adapter.drop_relation(existing) -%}
    {%- endif -%}
    {%- if config.get('contract').enforced -%}
        {{ get_assert_columns_equivalent(sql) }}
    {%- endif -%}
    {% call statement('main') -%}
        do $in_place$
        begin
            create or replace view {{ target }} as (
                {{ sql }}
            );
        exception when invalid_table_definition then
            drop view {{ target }} cascade;
            create view {{ target }} as (
                {{ sql }}
            );
        end
        $in_place$
    {%- endcall %}
    {%- do persist_docs(target, model) -%}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [target]}) }}
{%- endmaterialization %}
