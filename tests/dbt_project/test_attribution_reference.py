"""Attribution against published tables: paths and credit that others computed.

Belongs here: real path data with known totals. Does not belong here: small paths computed by
hand, which are dbt unit tests beside the model.
"""

import csv
import gzip
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from ml import attribution
from tests.dbt_project.attribution_paths import Journey, Step, replay_paths
from warehouse import Warehouse

# A path's value is multiplied before it becomes money, so that pennies do not blur the comparison.
SCALE = 1_000_000
START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def path_data(shared_data: Path) -> Path:
    folder = shared_data / "attribution_paths"
    if not folder.is_dir():
        pytest.skip("attribution_paths is not among the shared data")
    return folder


@pytest.mark.verify
def test_totals_of_ten_thousand_paths_are_reproduced(
    warehouse: Warehouse, tmp_path: Path, path_data: Path
) -> None:
    with gzip.open(path_data / "eeghor_mta_data.csv.gz", "rt") as file:
        paths = [row for row in csv.DictReader(file) if int(row["total_conversions"]) > 0]
    replay_paths(
        warehouse,
        tmp_path,
        [
            Journey(
                conversion_id=f"{number:05d}",
                revenue=str(SCALE * Decimal(row["total_conversion_value"])),
                steps=[
                    Step(channel, START + timedelta(minutes=40 * place))
                    for place, channel in enumerate(row["path"].split(" > "))
                ],
                converted_at=START + timedelta(days=20),
            )
            for number, row in enumerate(paths)
        ],
    )
    warehouse.execute("create table public.weights (conversion_id text, conversions bigint)")
    warehouse.append(
        "public.weights",
        pa.table(
            {
                "conversion_id": [f"{number:05d}" for number in range(len(paths))],
                "conversions": [int(row["total_conversions"]) for row in paths],
            }
        ),
    )
    ours = {
        (row["model"], row["channel"]): (row["conversions"], row["value"])
        for row in warehouse.rows(
            "select model, channel, sum(credit_share * conversions)::float8 as conversions,"
            " sum(credited_revenue_amount)::float8 / %(scale)s as value"
            " from marts.attributed_touchpoints inner join public.weights using (conversion_id)"
            " group by model, channel",
            scale=SCALE,
        )
    }
    with (path_data / "reference_attribution.csv").open() as file:
        reference = {row[""]: row for row in csv.DictReader(file)}
    for model, prefix in (("first_touch", "first"), ("last_touch", "last"), ("linear", "lin")):
        for channel, row in reference.items():
            conversions, value = ours[model, channel]
            assert conversions == pytest.approx(float(row[f"{prefix}_conv"]), abs=1e-6)
            assert value == pytest.approx(float(row[f"{prefix}_val"]), abs=1e-5)


def test_fractribution_paths_last_touch_and_shapley_are_reproduced(
    warehouse: Warehouse, tmp_path: Path, shared_data: Path
) -> None:
    folder = shared_data / "fractribution"
    if not folder.is_dir():
        pytest.skip("fractribution is not among the shared data")
    visits = _rows(folder / "snowplow_fractribution_sessions_by_customer_id_expected.csv")
    conversions = _rows(folder / "snowplow_fractribution_conversions_by_customer_id_expected.csv")
    _teach(warehouse, _rows(folder / "snowplow_fractribution_path_summary_expected.csv"))
    replay_paths(
        warehouse,
        tmp_path,
        [
            Journey(
                conversion_id=row["customer_id"],
                revenue=row["revenue"],
                steps=[
                    Step(visit["channel"], _moment(visit["visit_start_tstamp"]))
                    for visit in visits
                    if visit["customer_id"] == row["customer_id"]
                ],
                converted_at=_moment(row["conversion_tstamp"]),
            )
            for row in conversions
        ],
    )
    expected_paths = {
        row["customer_id"]: row["path"]
        for row in _rows(folder / "snowplow_fractribution_paths_to_conversion_expected.csv")
    }
    paths = warehouse.rows(
        "select conversion_id, string_agg(channel, ' > ' order by touched_at) as path"
        " from marts.attributed_touchpoints where model = 'linear' group by conversion_id"
    )
    assert {row["conversion_id"]: row["path"] for row in paths} == expected_paths
    report = _rows(folder / "snowplow_fractribution_report_table_expected.csv")
    for model in ("last_touch", "shapley"):
        found = {
            row["channel"]: row
            for row in warehouse.rows(
                "select channel, sum(credit_share)::float8 as conversions,"
                " sum(credited_revenue_amount)::float8 as revenue"
                " from marts.attributed_touchpoints where model = %(model)s group by channel",
                model=model,
            )
        }
        rows = [row for row in report if row["ATTRIBUTION_TYPE"] == model]
        assert len(rows) == 6
        for row in rows:
            own = found.pop(row["CHANNEL"], {"conversions": 0, "revenue": 0})
            assert own["conversions"] == pytest.approx(float(row["CONVERSIONS"]), abs=1e-9)
            # Ours are pennies: each of a conversion's parts may be off by half of one.
            assert own["revenue"] == pytest.approx(float(row["REVENUE"]), abs=0.005)
        assert not found


def _teach(warehouse: Warehouse, paths: list[dict[str, str]]) -> None:
    """Make the published counts of paths the month that closed before the conversions."""
    frame = pd.DataFrame(
        {
            "month": date(2022, 5, 1),
            "path": [row["transformed_path"].split(" > ") for row in paths],
            "conversion_count": [int(row["conversions"]) for row in paths],
            "null_count": [int(row["non_conversions"]) for row in paths],
        }
    )
    tables = ("ml.channel_removal_effects", "ml.channel_coalitions")
    for table, rows in zip(tables, attribution.estimate(frame), strict=True):
        warehouse.append(table, pa.Table.from_pandas(rows, preserve_index=False))


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
