"""Which identifiers stand together in the landing files, and so whom evidence can connect.

Belongs here: reading the files as a stranger would, without the loop's own reader. Does not
belong here: what the loop made of them (`scorecard`), what is true (`market.truth`).
"""

from pathlib import Path
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Owners = dict[tuple[str, str], int | None]

KINDS: Final = (
    "user_id", "crm_contact_id", "email", "phone", "device_id", "anonymous_id", "previous_id",
    "ad_click_id",
)  # fmt: skip
EVENTS_SQL: Final = """
select distinct
    "userId" as user_id, null as crm_contact_id,
    coalesce(properties->>'$.email', traits->>'$.email') as email,
    coalesce(properties->>'$.phone', traits->>'$.phone') as phone,
    context->>'$.device.id' as device_id, "anonymousId" as anonymous_id,
    "previousId" as previous_id,
    nullif(regexp_extract(context->>'$.page.url', '[?&](?:gclid|gbraid|fbclid)=([^&#]+)', 1), '')
        as ad_click_id
from read_json(
    $files, format = 'newline_delimited', columns = {
        'userId': 'VARCHAR', 'anonymousId': 'VARCHAR', 'previousId': 'VARCHAR',
        'properties': 'JSON', 'traits': 'JSON', 'context': 'JSON'
    }
)
"""
CONTACTS_SQL: Final = """
select distinct user_id, contact_id, email, phone, null, null, null, null
from read_csv($files, header = true, all_varchar = true, union_by_name = true)
"""
# One row per row of a file and identifier of one person that it names. `has_answer`: beside
# another of that person, or beside nothing that several people use.
SEEN_SQL: Final = """
with members as (
    unpivot (select row_number() over () as row_number, * from sets)
    on {kinds} into name identifier_type value identifier_value
),
spelled as (
    select distinct
        row_number,
        if(identifier_type = 'previous_id', 'anonymous_id', identifier_type) as identifier_type,
        lower(if(identifier_type = 'phone', replace(identifier_value, ' ', ''),
            trim(identifier_value))) as identifier_value
    from members
),

known as (
    select *, count(*) over (partition by row_number, owner) > 1
        or bool_and(owner is not null) over (partition by row_number) as has_answer
    from spelled inner join owners using (identifier_type, identifier_value)
)

select *, dense_rank() over (order by identifier_type, identifier_value) - 1 as node,
    bool_or(has_answer) over (partition by identifier_type, identifier_value) as is_fair
from known where owner is not null
order by row_number, owner, node
"""


def connected(landing: Path, owners: Owners) -> pa.Table:
    """Return which identifiers of one person the files connect.

    Args:
        landing: the folder of landing files.
        owners: (identifier_type, value in lower case) -> the person to whom alone it belongs, None
            where several people use it; without what names nobody.

    Returns:
        identifier_type, identifier_value, owner, component, is_fair: one row per identifier of one
        person that stands in a file. Two of them have the same component when a chain of rows
        connects them, each row naming two neighbours of the chain, and the whole chain is that
        person's. `is_fair` is false where every row that names the identifier also names one of
        several people, and none of that person: whose it is, nobody could tell.
    """
    seen = _seen(landing, owners)
    row, owner, node = (seen[name].to_numpy() for name in ("row_number", "owner", "node"))
    # Of one person's identifiers in a row, each is tied to the next.
    tied = (np.diff(row) == 0) & (np.diff(owner) == 0)
    ends = node[:-1][tied], node[1:][tied]
    nodes, first = np.unique(node, return_index=True)
    graph = coo_array((np.ones(len(ends[0]), np.int8), ends), shape=(len(nodes), len(nodes)))
    component = connected_components(graph, directed=False)[1].astype(np.int64)
    names = ["identifier_type", "identifier_value", "owner", "is_fair"]
    kept = seen.select(names).take(pa.array(first))
    return kept.append_column("component", pa.array(component))


def _seen(landing: Path, owners: Owners) -> pa.Table:
    known = pa.table(
        {
            "identifier_type": pa.array([kind for kind, _ in owners], pa.string()),
            "identifier_value": pa.array([value for _, value in owners], pa.string()),
            "owner": pa.array(list(owners.values()), pa.int64()),
        }
    )
    files = {
        sql: [str(path) for path in sorted((landing / kind).glob(pattern))]
        for sql, kind, pattern in (
            (EVENTS_SQL, "segment", "*.jsonl.gz"),
            (CONTACTS_SQL, "crm_contacts", "*.csv"),
        )
    }
    with duckdb.connect(config={"threads": 2}) as connection:
        connection.register("owners", known)
        connection.execute(f"create table sets ({', '.join(f'{kind} text' for kind in KINDS)})")
        for sql, paths in files.items():
            if paths:
                connection.execute(f"insert into sets {sql}", {"files": paths})
        return connection.sql(SEEN_SQL.format(kinds=", ".join(KINDS))).to_arrow_table()
