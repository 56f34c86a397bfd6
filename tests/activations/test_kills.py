"""Kill -9 at every database statement and every HTTP exchange of a send, counted outside it.

Belongs here: a dispatcher process, a proxy between it and Postgres, one between it and the vendor,
and the count of messages at the vendor. Keep out: faults the vendor tells (`test_faults.py`).
"""

from collections.abc import Iterator

import pytest

from sandbox import standins
from tests.activations import dispatchers, proxies
from tests.activations.proxies import Counter
from tests.activations.rehearsal import Scene
from tests.activations.sending import MORNING, planned
from tests.activations.world import World
from warehouse import server as servers
from warehouse.server import Server

ARMS = {"twilio": "sms_none_news", "sendgrid": "email_none_news", "resend": "email_none_news"}
FEW = {"twilio": 2, "sendgrid": 3, "resend": 4}
MANY = 100
KILLED = -9


@pytest.fixture(scope="module")
def nursery() -> Iterator[dispatchers.Nursery]:
    with dispatchers.nursery() as held:
        yield held


@pytest.fixture(params=sorted(ARMS))
def plan(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def scene(
    plan: str, request: pytest.FixtureRequest, world: World, audience, postgres: Server,
    nursery: dispatchers.Nursery, tmp_path,
) -> Iterator[Scene]:  # fmt: skip
    """A plan of a few messages and a dispatcher behind two proxies."""
    is_crowd = "count" in request.fixturenames
    planned(world, audience, MANY if is_crowd else FEW[plan], arm=ARMS[plan])
    world.warehouse.execute("update delivery.messages set provider = %(p)s", p=plan)
    counter = Counter()
    name = world.warehouse.url.split("/")[3].split("?")[0]
    with (
        standins.serve(tmp_path) as vendors,
        proxies.to_postgres(counter, postgres.socket_dir, servers.SOCKET_PORT) as database_port,
    ):
        vendors.set_clock(MORNING)
        direct = vendors.urls[plan]
        port = int(direct.split(":")[2].split("/")[0])
        with proxies.to_http(counter, port) as vendor_port:
            url = (f"postgresql://postgres@127.0.0.1:{database_port}/{name}"
                   "?sslmode=disable&gssencmode=disable")  # fmt: skip
            made = Scene(world, nursery, counter, url, plan, direct,
                         direct.replace(str(port), str(vendor_port)), vendors)  # fmt: skip
            made.save()
            yield made


def exchanges(scene: Scene) -> list[str]:
    """What kinds there are, in their order, in a send at which nothing fails."""
    assert scene.run(None) == 0
    assert scene.broken_promises() == []
    assert set(scene.statuses().values()) == {"accepted"}
    seen = list(scene.counter.seen)
    scene.restore()
    return seen


def check(scene: Scene, at: int, fault: proxies.Fault) -> str | None:
    """Play one fault and everything after it; what went wrong, if something did."""
    code = scene.run(at, fault)
    where = f"{fault} at {at} ({scene.counter.seen[at - 1]}) of {scene.vendor}"
    if fault == "kill" and code != KILLED:
        return f"{where}: ended with {code}"
    scene.play_on(MORNING)
    wrong = scene.broken_promises()
    statuses = list(scene.statuses().values())
    most = {"twilio": 1, "sendgrid": len(statuses), "resend": 0}[scene.vendor]
    if statuses.count("unknown") > most:
        wrong.append(f"{statuses.count('unknown')} unknown")
    scene.restore()
    return f"{where}: {', '.join(wrong)}" if wrong else None


def test_some_kills_lose_and_double_nothing(scene: Scene) -> None:
    seen = exchanges(scene)
    asked = [at for at, kind in enumerate(seen, 1) if kind in ("request", "answer")]
    points = sorted({*range(3, len(seen) + 1, 12), *asked, len(seen)})
    assert [wrong for at in points if (wrong := check(scene, at, "kill"))] == []


@pytest.mark.parametrize("plan", ["twilio"], indirect=True)
@pytest.mark.parametrize("count", [2, 8])
def test_dispatchers_at_once_share_the_work(scene: Scene, count: int) -> None:
    """Processes of their own on one outbox; one of them is killed in the middle of it."""
    scene.counter.reset(60 * count, "kill")
    for _ in range(count):
        scene.start()
    codes = scene.nursery.wait(count)
    assert sorted(codes) == [KILLED] + [0] * (count - 1)
    scene.play_on(MORNING)
    assert scene.broken_promises() == []
    statuses = list(scene.statuses().values())
    assert statuses.count("unknown") <= 1
    batches = scene.world.warehouse.rows("select distinct batch_key from delivery.send_attempts")
    assert len(batches) == MANY


@pytest.mark.verify
def test_a_kill_at_every_exchange_loses_and_doubles_nothing(scene: Scene) -> None:
    points = range(1, len(exchanges(scene)) + 1)
    assert len(points) > 30
    assert [wrong for at in points if (wrong := check(scene, at, "kill"))] == []


@pytest.mark.verify
def test_a_line_cut_after_the_server_acted_loses_and_doubles_nothing(scene: Scene) -> None:
    """The statement or the request did happen, and the dispatcher lives and never hears of it."""
    points = range(2, len(exchanges(scene)) + 1, 3)
    assert [wrong for at in points if (wrong := check(scene, at, "sever"))] == []
