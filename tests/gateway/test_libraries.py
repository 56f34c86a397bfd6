"""Unmodified libraries pointed at the gateway: every call lands, and is loaded.

Skipped, saying so, where a library is not installed.
"""

import importlib.util
import shutil
import subprocess
from typing import Any

import pytest

import ingestion
from tests.gateway.conftest import NOW, Served

TYPES = {"track", "identify", "page", "screen", "alias", "group"}
NODE_PACKAGE = "@segment/analytics-node"
NODE = """
const { Analytics } = require('@segment/analytics-node');
const analytics = new Analytics({ writeKey: 'wk_new', host: process.argv[1], maxRetries: 0 });
analytics.on('error', (error) => { console.error(error); process.exit(1); });
const who = { userId: 'u1' };
analytics.track({ ...who, event: 'Order Completed', properties: { revenue: 39.8 } });
analytics.identify({ ...who, traits: { email: 'ada@example.com' } });
analytics.page({ ...who, name: 'Home' });
analytics.screen({ ...who, name: 'Cart' });
analytics.alias({ userId: 'u1', previousId: 'a1' });
analytics.group({ ...who, groupId: 'g1' });
for (let i = 0; i < 40; i++) analytics.track({ anonymousId: 'a1', event: 'Product Viewed' });
analytics.closeAndFlush();
"""


def is_node_package_there() -> bool:
    node = shutil.which("node")
    if node is None:
        return False
    found = subprocess.run([node, "-e", f"require('{NODE_PACKAGE}')"], capture_output=True)
    return found.returncode == 0


def loaded(served: Served) -> dict[str, Any]:
    served.publish()
    # Libraries tell the true time; the test's clock stands, so what lies ahead happened now.
    warehouse = served.gateway.connections.warehouse
    [result] = ingestion.ingest(warehouse, served.settings, now=NOW)
    assert (result.status, result.rows_rejected) == ("loaded", 0)
    rows = warehouse.rows("select type, count(*) as count from raw.events group by type")
    return {row["type"]: row["count"] for row in rows}


@pytest.mark.parametrize("is_packed", [False, True])
def test_segment_analytics_python(served: Served, is_packed: bool) -> None:
    if importlib.util.find_spec("segment") is None:
        pytest.skip("segment-analytics-python is not installed")
    from segment.analytics.client import Client

    failures: list[Any] = []
    client = Client(
        "wk_new", host=served.url, gzip=is_packed, max_retries=0,
        on_error=lambda error, items: failures.append(error),
    )  # fmt: skip
    client.track("u1", "Order Completed", {"revenue": 39.8, "currency": "GBP"})
    client.identify("u1", {"email": "ada@example.com"})
    client.page("u1", name="Home")
    client.screen("u1", name="Cart")
    client.alias("a1", "u1")
    client.group("u1", "g1")
    for _ in range(250):
        client.track(anonymous_id="a1", event="Product Viewed")
    client.flush()
    client.join()
    assert failures == []
    assert {line["type"] for line in served.landed()} == TYPES
    assert loaded(served) == {
        "product_viewed": 250, "order_completed": 1, "identified": 1, "page_viewed": 1,
        "screen_viewed": 1, "aliased": 1, "grouped": 1,
    }  # fmt: skip


def test_segment_analytics_node(served: Served) -> None:
    if not is_node_package_there():
        pytest.skip(f"node or {NODE_PACKAGE} is not installed")
    node = shutil.which("node")
    assert node is not None
    ran = subprocess.run(
        [node, "-e", NODE, served.url], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert {line["type"] for line in served.landed()} == TYPES
    assert loaded(served)["product_viewed"] == 40
