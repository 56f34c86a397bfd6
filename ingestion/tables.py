"""CSV and Parquet files as rows of a contract.

Belongs here: finding the mapped columns, typing and validating them in DuckDB.
Keep out: what is in Postgres already (merging.py).
"""

import csv
import zoneinfo
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from ingestion import engine, files, phones, spelling
from ingestion.contracts import Contract
from ingestion.results import FileError, IngestionError, Reject
from ingestion.segment import nearest

OUTPUT_ROWS = 50_000
MAX_LINE_BYTES = 16 << 20


@dataclass(frozen=True)
class Origin:
    """How one source spells its rows: column mapping, defaults, local time."""

    source: str
    mapping: Mapping[str, str]
    options: Mapping[str, str]
    currency: str
    region: str

    @property
    def time_zone(self) -> str:
        """The zone of times without an offset. Raises IngestionError when it is unknown."""
        zone = self.options.get("time_zone", "UTC")
        if zone not in zoneinfo.available_timezones():
            raise IngestionError(f"option time_zone: {zone} is no time zone")
        return zone


@dataclass(frozen=True)
class TypedRows:
    """`lines`: Arrow strings for COPY, the line in the file and the contract's columns."""

    lines: Iterator[pa.ChunkedArray]
    read: int
    rejects: list[Reject]


def typed(
    session: duckdb.DuckDBPyConnection,
    file: files.LocalFile,
    contract: Contract,
    origin: Origin,
    directory: Path,
) -> TypedRows:
    """Read, type and validate one file.

    Raises FileError when it cannot be read or lacks a column; the text names the column and the
    nearest one present.
    """
    with files.uncompressed(file, directory) as path:
        torn = _given(session, path, file.is_parquet, origin)
    present = _columns(session)
    mapped = _mapped(contract, origin, present)
    _write_phones(session, contract, mapped, origin)
    engine.set_variables(session, _variables(origin))
    session.execute(
        spelling.typing(
            contract,
            mapped,
            _others(contract, mapped, present),
            is_formatted="timestamp_format" in origin.options,
        )
    )
    refused = session.execute("""
        select line_in_file, reason, to_json(given)::varchar
        from typed inner join given using (line_in_file)
        where reason is not null order by line_in_file
    """).fetchall()
    return TypedRows(
        lines=_spelled(session, contract),
        read=engine.count(session, "select count(*) from given") + len(torn),
        rejects=torn + [Reject(*found) for found in refused],
    )


def _spelled(session: duckdb.DuckDBPyConnection, contract: Contract) -> Iterator[pa.ChunkedArray]:
    for batch in engine.batches(session, spelling.lines(contract), OUTPUT_ROWS):
        yield pa.chunked_array([batch.column(0)])


def _given(
    session: duckdb.DuckDBPyConnection, path: Path, is_parquet: bool, origin: Origin
) -> list[Reject]:
    session.execute("drop table if exists reject_errors; drop table if exists reject_scans")
    try:
        if is_parquet:
            session.execute(
                "create or replace temp table given as select file_row_number + 1 as line_in_file,"
                " columns(* exclude (file_row_number))::varchar"
                " from read_parquet(?, file_row_number = true)",
                [str(path)],
            )
            return []
        return _given_csv(session, path, origin.options.get("delimiter", ","))
    except duckdb.Error as error:
        kind = "Parquet" if is_parquet else "CSV"
        raise FileError(f"not readable as {kind} ({type(error).__name__})") from error


def _given_csv(session: duckdb.DuckDBPyConnection, path: Path, delimiter: str) -> list[Reject]:
    names = _header(path, delimiter)
    session.execute(
        """
        create or replace temp table given as
        select row_number() over () + 1 as line_in_file, *
        from read_csv(
            ?, auto_detect = false, header = true, delim = ?, quote = '"', escape = '"',
            columns = ?, store_rejects = true, rejects_limit = 0, max_line_size = ?
        )
        """,
        [str(path), delimiter, dict.fromkeys(names, "VARCHAR"), MAX_LINE_BYTES],
    )
    # A last row of nothing is what a blank line at the end reads as.
    nothing = " and ".join(f"{spelling.quoted(name)} is null" for name in names)
    session.execute(f"delete from given where {nothing}")
    torn = session.execute("""
        select line, min(error_type::varchar), min(csv_line) from reject_errors
        group by line order by line
    """).fetchall()
    for line, error_type, text in torn:
        if error_type == "UNQUOTED VALUE" and "\n" in (text or "").strip():
            raise FileError(f"line {line}: a quote is never closed")
    reasons = {"INVALID ENCODING": "not_utf8", "UNQUOTED VALUE": "broken_quotes"}
    return [
        Reject(line, reasons.get(kind, kind.lower().replace(" ", "_")), text or "")
        for line, kind, text in torn
    ]


def _header(path: Path, delimiter: str) -> list[str]:
    with path.open("rb") as stream:
        first = stream.readline(MAX_LINE_BYTES)
    if first[:2] in files.UTF16_MARKS:
        raise FileError("the file is UTF-16; expected UTF-8")
    try:
        names = next(csv.reader([first.decode("utf-8-sig")], delimiter=delimiter), [])
    except UnicodeDecodeError as error:
        raise FileError("the header line is not UTF-8") from error
    names = [name.strip() for name in names]
    if not any(names):
        raise FileError("the header line is empty")
    if len({name.lower() for name in names}) < len(names):
        raise FileError("the header names a column twice")
    return [name or f"column_{position}" for position, name in enumerate(names, 1)]


def _columns(session: duckdb.DuckDBPyConnection) -> list[str]:
    names = [row[0] for row in session.execute("describe given").fetchall()]
    return [name for name in names if name != "line_in_file"]


def _mapped(contract: Contract, origin: Origin, present: list[str]) -> dict[str, str]:
    unknown = sorted(set(origin.mapping) - {field.name for field in contract.fields})
    if unknown:
        names = {field.name for field in contract.fields}
        raise FileError(
            f"mapping: {contract.kind} has no column {unknown[0]}{nearest(unknown[0], names)}"
        )
    by_lower = {name.lower(): name for name in present}
    mapped = {}
    for field in contract.fields:
        wanted = origin.mapping.get(field.name, field.name)
        if wanted.lower() in by_lower:
            mapped[field.name] = by_lower[wanted.lower()]
        elif field.is_required or field.is_column_required or field.name in origin.mapping:
            raise FileError(f"column {wanted} is missing{nearest(wanted, set(present))}")
    return mapped


def _others(contract: Contract, mapped: dict[str, str], present: list[str]) -> list[str]:
    """Columns of the file that the contract has no place for, where the contract keeps them."""
    return sorted(set(present) - set(mapped.values())) if contract.keeps_other_columns else []


def _variables(origin: Origin) -> dict[str, object]:
    return {
        "zone": origin.time_zone,
        "source": origin.source,
        "currency": origin.options.get("currency", origin.currency),
        "time_format": origin.options.get("timestamp_format", ""),
        "credit_note_prefix": origin.options.get("credit_note_prefix", "C"),
        "adjustment_prefix": origin.options.get("adjustment_prefix", "A"),
    }


def _write_phones(
    session: duckdb.DuckDBPyConnection, contract: Contract, mapped: dict[str, str], origin: Origin
) -> None:
    """Register the distinct phones of `given` as the table phones (given, region, e164)."""
    pairs: list[tuple[str, str]] = []
    column = mapped.get(spelling.phone_field(contract))
    engine.set_variables(session, {"region": origin.region})
    if column is not None:
        given, region = spelling.quoted(column), spelling.region(mapped)
        pairs = session.execute(
            f"select distinct trim({given}), {region} from given where {given} is not null"
        ).fetchall()
    table = pa.table(
        {
            "given": pa.array([given for given, _ in pairs], pa.string()),
            "region": pa.array([region for _, region in pairs], pa.string()),
            "e164": pa.array([phones.e164(*pair) for pair in pairs], pa.string()),
        }
    )
    session.register("phones", table)
