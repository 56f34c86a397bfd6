{#-
    Views are replaced in place. dbt's own way, a new view under the old name, drops all views
    that stand on the old one until their turn comes, and for good when the run fails before it.
    Postgres replaces a view only when its columns stay; otherwise it is dropped with dependents.
-#}
{% materialization view, adapter='postgres' -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- set target = this.incorporate(type='view') -%}
    {%- set keeps_columns = false -%}
    {%- if existing is not none and existing.is_view and not should_full_refresh() -%}
        {%- set before = adapter.get_columns_in_relation(existing)
            | map(attribute="quoted") | list -%}
        {%- set after = get_column_schema_from_query(sql) | map(attribute="quoted") | list -%}
        {%- set keeps_columns = after[:before | length] == before -%}
    {%- endif -%}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {%- if existing is not none and not keeps_columns -%}
        {%- do adapter.drop_relation(existing) -%}
    {%- endif -%}
    {%- if config.get('contract').enforced -%}
        {{ get_assert_columns_equivalent(sql) }}
    {%- endif -%}
    {% call statement('main') -%}
        create or replace view {{ target }} as (
            {{ sql }}
        )
    {%- endcall %}
    {%- do persist_docs(target, model) -%}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [target]}) }}
{%- endmaterialization %}
