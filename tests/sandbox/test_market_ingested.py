"""What the market lands is what ingestion reads: every file loads, no row is rejected."""

from datetime import timedelta

import yaml

from ingestion import ingest
from sandbox import market
from sandbox.market.world import load
from tests.sandbox.test_market import AS_OF, Simulation, _accept
from warehouse import load_settings

KINDS = {
    "segment": "jsonl.gz",
    "crm_contacts": "csv",
    "crm_consents": "csv",
    "crm_deals": "csv",
    "products": "csv",
    "ad_spend": "csv",
    "currency_rates": "csv",
    "provider_events": "jsonl",
}


def test_every_landed_row_is_loaded(warehouse, tmp_path):
    market.found(Simulation(), tmp_path, AS_OF)
    cards = load(tmp_path / "sandbox" / "state").cards[:120]
    arms = [(card["email"], "email_10_discount") for card in cards]
    arms += [(card["phone"], "sms_none_reminder") for card in cards if card["phone"]]
    _accept(tmp_path, arms, AS_OF + timedelta(hours=9))
    for day in (1, 2, 3):
        market.live(Simulation(), tmp_path, AS_OF + timedelta(days=day))
    sources = [
        {"kind": kind, "path": str(tmp_path / "landing" / kind / f"*.{ending}")}
        for kind, ending in KINDS.items()
    ]
    config = tmp_path / "loopdrive.yml"
    content = {"workspace": "test", "currency": "EUR", "sources": sources}
    config.write_text(yaml.safe_dump(content))
    settings = load_settings(config, environ={})
    results = ingest(warehouse, settings, now=AS_OF + timedelta(days=3))
    assert {result.status for result in results} == {"loaded"}
    assert {result.source for result in results} == set(KINDS)
    rejects = warehouse.rows("select source, reason, count(*) from raw.rejects group by 1, 2")
    assert rejects == []
    told = {
        row["type"]
        for row in warehouse.rows("select distinct provider || ' ' || type as type "
                                  "from raw.provider_events")
    }  # fmt: skip
    assert {"sendgrid processed", "sendgrid delivered", "sendgrid open", "sendgrid machine_open",
            "sendgrid click", "twilio sent", "twilio delivered"} <= told  # fmt: skip
