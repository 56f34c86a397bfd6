"""SQL that types, validates and spells the rows of a contract.

Belongs here: from a contract's fields to DuckDB expressions and the reasons for a reject.
Keep out: running any of it.
"""

from collections.abc import Mapping, Sequence

from ingestion.contracts import Contract, Field

# What {x} becomes, given a trimmed text that is not empty.
VALUES = {
    "text": "{x}",
    "id": "plain_id({x})",
    "decimal": "{x}",
    "whole": "try_cast(try_cast({x} as decimal(38, 10)) as bigint)::varchar",
    "instant": "copied_time(moment({x}))",
    "date": "day({x})::varchar",
    "flag": "try_cast({x} as boolean)::varchar",
    "currency": "upper({x})",
    "email": "mail_address({x})",
    "phone": "phones.e164",
}
# When a value of that type is refused, and why; e-mails and phones that are none become null.
REFUSALS: dict[str, tuple[tuple[str, str], ...]] = {
    "decimal": (("not is_decimal({x})", "wrong_type"),),
    "whole": (("not is_whole({x})", "wrong_type"),),
    "instant": (
        ("moment({x}) is null", "wrong_type"),
        ("not is_sane_time(moment({x}))", "impossible_date"),
    ),
    "date": (
        ("day({x}) is null", "wrong_type"),
        ("year(day({x})) not between 1990 and 2099", "impossible_date"),
    ),
    "flag": (("try_cast({x} as boolean) is null", "wrong_type"),),
    "currency": (("not list_contains(getvariable('currencies'), upper({x}))", "unknown_currency"),),
}
BIRTH_DATES = "year(day({x})) not between 1900 and 2099"

LOCAL_MOMENT = """
create or replace macro moment(value) as instant(value, getvariable('zone'));
"""
FORMATTED_MOMENT = """
create or replace macro moment(value) as
    timezone(getvariable('zone'), try_strptime(value, getvariable('time_format')));
"""
DAY = """
create or replace macro day(value) as coalesce(
    try_cast(value as date), try_cast(try_cast(value as timestamp) as date)
);
"""

KIND_OF_ORDER = """coalesce({x}, case
    when regexp_matches(picked.order_id, '^' || getvariable('credit_note_prefix') || '\\d')
        then 'credit_note'
    when regexp_matches(picked.order_id, '^' || getvariable('adjustment_prefix') || '\\d')
        then 'adjustment'
    else 'sale'
end)"""
POSITION_IN_ORDER = """(row_number() over (
    partition by picked.order_id order by picked.line_in_file
))::varchar"""
CONSENT_IDENTIFIER = """case picked.identifier_type
    when 'email' then mail_address({x})
    when 'phone' then phones.e164
    else plain_id({x})
end"""
# Fields whose value is more than a type: (kind, field) to an expression.
SPECIAL_VALUES = {
    ("order_lines", "kind"): KIND_OF_ORDER,
    ("order_lines", "line_number"): POSITION_IN_ORDER,
    ("order_lines", "currency"): "coalesce(upper({x}), getvariable('currency'))",
    ("products", "currency"): "coalesce(upper({x}), getvariable('currency'))",
    ("crm_deals", "currency"): "coalesce(upper({x}), getvariable('currency'))",
    ("ad_spend", "ad_set_id"): "coalesce(plain_id({x}), '')",
    ("crm_consents", "identifier_value"): CONSENT_IDENTIFIER,
}
SPECIAL_REFUSALS = {
    ("crm_consents", "identifier_value"): ((CONSENT_IDENTIFIER + " is null", "wrong_type"),),
    ("currency_rates", "rate_to_workspace"): (
        ("try_cast({x} as decimal(38, 10)) <= 0", "not_positive"),
    ),
}


def quoted(name: str) -> str:
    """An identifier of a file, safe in SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text constant, safe in SQL."""
    return "'" + text.replace("'", "''") + "'"


def phone_field(contract: Contract) -> str:
    """The field of a contract that may hold phones."""
    return "identifier_value" if contract.kind == "crm_consents" else "phone"


def region(mapped: Mapping[str, str]) -> str:
    """The row's own country where it is a code, else the workspace's."""
    if "country" not in mapped:
        return "getvariable('region')"
    country = f"upper(trim({quoted(mapped['country'])}))"
    return f"if(regexp_matches({country}, '^[A-Z]{{2}}$'), {country}, getvariable('region'))"


def typing(
    contract: Contract, mapped: Mapping[str, str], others: Sequence[str], *, is_formatted: bool
) -> str:
    """SQL from `given` to `typed`: line_in_file, the contract's columns as text, reason.

    `is_formatted`: times have the format of the variable time_format.
    """
    picked = ",\n".join(f"{_picked(field, mapped)} as {field.name}" for field in contract.fields)
    values = ",\n".join(f"{_value(contract, field)} as {field.name}" for field in contract.fields)
    reasons = "\n".join(reason for field in contract.fields for reason in _reasons(contract, field))
    extra = f", {_properties(contract, others)} as properties" if others_kept(contract) else ""
    joined = (
        f"left join phones on phones.given = picked.{phone_field(contract)}"
        " and phones.region = picked.region_of_row"
        if any(field.name == phone_field(contract) for field in contract.fields)
        else ""
    )
    return f"""
        {FORMATTED_MOMENT if is_formatted else LOCAL_MOMENT} {DAY}
        create or replace temp table typed as
        with picked as (
            select {picked}, {region(mapped)} as region_of_row,
                   given as whole_row, line_in_file
            from given
        )
        select picked.line_in_file, getvariable('source') as source, {values} {extra},
               case {reasons} end as reason
        from picked {joined}
    """


def others_kept(contract: Contract) -> bool:
    """Whether the contract has a column for what the file has besides."""
    return contract.keeps_other_columns


def lines(contract: Contract) -> str:
    """SQL from `typed` to lines for COPY: line_in_file and the contract's columns."""
    columns = ", ".join(f"copied({name}, false)" for name in contract.columns)
    return f"""
        select concat_ws(chr(9), line_in_file, {columns}) || chr(10) as line
        from typed where reason is null order by line_in_file
    """


def _picked(field: Field, mapped: Mapping[str, str]) -> str:
    if field.name not in mapped:
        return "null::varchar"
    return f"nullif(trim({quoted(mapped[field.name])}), '')"


def _value(contract: Contract, field: Field) -> str:
    template = SPECIAL_VALUES.get((contract.kind, field.name), VALUES[field.type])
    return template.format(x=f"picked.{field.name}")


def _reasons(contract: Contract, field: Field) -> list[str]:
    given = f"picked.{field.name}"
    found = []
    if field.is_required:
        found.append((f"{given} is null", "missing_value"))
    if field.allowed:
        allowed = ", ".join(map(literal, field.allowed))
        found.append((f"{given} not in ({allowed})", "unknown_value"))
    refusals = REFUSALS.get(field.type, ()) + SPECIAL_REFUSALS.get((contract.kind, field.name), ())
    for condition, reason in refusals:
        if field.name == "birth_date" and reason == "impossible_date":
            condition = BIRTH_DATES
        found.append((f"{given} is not null and {condition.format(x=given)}", reason))
    return [
        f"when {condition} then {literal(f'{reason}: {field.name}')}" for condition, reason in found
    ]


def _properties(contract: Contract, others: Sequence[str]) -> str:
    """Columns the contract has no place for, and contact points as given that are none."""
    members = [f"{literal(name)}, picked.whole_row.{quoted(name)}" for name in others]
    for field in contract.fields:
        if field.type in ("email", "phone"):
            value = _value(contract, field)
            members.append(
                f"{literal(field.name + '_as_given')},"
                f" if({value} is null, picked.{field.name}, null)"
            )
    document = f"json_merge_patch('{{}}'::json, json_object({', '.join(members)}))::varchar"
    return f"nullif({document}, '{{}}')"
