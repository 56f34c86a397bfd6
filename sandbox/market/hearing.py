"""The market hears the loop: accepted messages become answers of its people.

Belongs here: who is behind an address, how likely they are to react, the visits they plan.
Does not belong here: the webhooks' wording and timing (`reactions`), the law (`effects`).
"""

import json
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np

from sandbox.market import effects, population, reactions, zones
from sandbox.market.crm import Row
from sandbox.market.draws import choices, generator
from sandbox.market.reactions import Answers, Message, Odds
from sandbox.market.world import (
    BROWSE,
    BUY,
    CART,
    MESSAGE_SOURCES,
    VISIT_TYPES,
    Columns,
    World,
    columns,
    stacked,
)

ANSWERING: Final = ("email", "sms")


def accepted_after(path: Path, heard: int) -> list[Message]:
    """Return the messages the stand-ins accepted behind the first `heard` lines, with `at`."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8") as lines:
        messages = [json.loads(line) for line in lines if line.strip()][heard:]
    for message in messages:
        message["at"] = datetime.fromisoformat(message["accepted_at"]).timestamp()
    return messages


def hear(world: World, messages: list[Message]) -> tuple[Answers, list[Row], list[Row]]:
    """Let people react; returns answers, truth of what was heard, consents withdrawn.

    Plans visits in `world.planned` and tires people (`fatigue`). Messages to nobody, or over a
    channel that nobody answers, are delivered to silence.
    """
    world.heard_messages += len(messages)
    spoken = [message for message in messages if is_answered(message)]
    if not spoken:
        return Answers(), [], []
    people, mistyped = _addressees(world, spoken)
    odds, hours = _odds(world, spoken, people, mistyped)
    answers = reactions.answer(world.seed, spoken, odds, effects.VIEW_THROUGH_SHARE)
    _plan_visits(world, spoken, people, answers)
    reached = people[np.array(answers.delivered, dtype=np.int64)]
    np.add.at(world.people["fatigue"], reached[reached >= 0], 1.0)
    return answers, _truth(spoken, people, odds, hours), _goodbyes(world, spoken, people, answers)


def is_answered(message: Message) -> bool:
    """Say whether anybody can answer: a channel people read, and the loop's own words on it."""
    named = all(message.get(name) for name in ("message_key", "program", "arm"))
    return named and message["channel"] in ANSWERING


def _addressees(world: World, messages: list[Message]) -> tuple[np.ndarray, np.ndarray]:
    """Return each message's person (-1 for nobody) and whether the address is a typo."""
    real: dict[str, int] = {}
    # Whoever had a shared address first reads it: iterate backwards.
    for row in range(len(world.cards) - 1, -1, -1):
        card = world.cards[row]
        for name in ("email", "email_alt", "phone"):
            if card[name]:
                real[card[name]] = row
    addresses = [message["address"].strip() for message in messages]
    addresses = [text.lower() if "@" in text else text for text in addresses]
    people = np.array([real.get(text, -1) for text in addresses], dtype=np.int64)
    typo = np.array([text not in real for text in addresses])
    return people, typo


def _odds(
    world: World, messages: list[Message], people: np.ndarray, mistyped: np.ndarray
) -> tuple[Odds, np.ndarray]:
    rows = np.maximum(people, 0)
    traits = effects.traits_of(world.people, rows)
    count = len(messages)
    click, buy = np.zeros(count), np.zeros(count)
    kinds = {(message["program"], message["arm"]) for message in messages}
    for program, arm in sorted(kinds):
        chosen = np.array([(m["program"], m["arm"]) == (program, arm) for m in messages])
        some = {name: values[chosen] for name, values in traits.items()}
        click[chosen] = effects.click_probability(some, program, arm, weary=True)
        buy[chosen] = effects.purchase_probability(some, program, arm)
    at = np.array([message["at"] for message in messages])
    hour = zones.hours_of_week(at, world.people["place"][rows])
    taste = population.hour_tastes(world.people, rows)[np.arange(count), hour]
    factor = effects.hour_factor(taste)
    there = people >= 0
    sms = np.array([message["channel"] == "sms" for message in messages])
    leave = np.where(sms, 0.009, 0.006) * (1 + 0.8 * world.people["fatigue"][rows])
    odds = Odds(
        click=np.where(there, np.minimum(click * factor, 0.9), 0.0),
        buy=np.where(there, buy, 0.0),
        bounce=np.where(mistyped, 0.93, np.where(sms, 0.012, 0.002)),
        machine=world.people["apple_mail"][rows] & there,
        scanner=world.people["mail_scanner"][rows] & there,
        leave=np.where(there, leave, 0.0),
    )
    return odds, hour


def _plan_visits(
    world: World, messages: list[Message], people: np.ndarray, answers: Answers
) -> None:
    """Plan the landing visits of clicks and the purchases that come later."""
    lived_until = world.day_start(world.lived_days).timestamp()
    at_once = {index for index, _, clicked in answers.purchases if clicked}
    plans: list[tuple[int, float, int, bool]] = []
    for click, moment in answers.clicks:
        plans.append((click, moment, BUY if click in at_once else BROWSE, True))
    plans += [(said, moment, BUY, False) for said, moment, now in answers.purchases if not now]
    plans = [plan for plan in plans if people[plan[0]] >= 0]
    if not plans:
        return
    # A day that was lived already cannot be changed; what it missed happens right after.
    at = np.array([max(plan[1], lived_until) for plan in plans])
    index = np.array([plan[0] for plan in plans])
    planned = _message_visits(world, messages, people[index], index, at)
    linked = np.array([plan[3] for plan in plans])
    intent = np.array([plan[2] for plan in plans])
    rng = generator(world.seed, "visits", world.lived_days + 50_000)
    carts = (intent == BROWSE) & (rng.random(len(plans)) < 0.25)
    planned["intent"] = np.where(carts, CART, intent).astype(np.int8)
    planned["source"] = np.where(linked, planned["source"], 0)
    planned["tag"] = np.where(linked, planned["tag"], -1)
    world.planned = stacked([world.planned, planned])


def _message_visits(
    world: World, messages: list[Message], rows: np.ndarray, index: np.ndarray, at: np.ndarray
) -> Columns:
    source = np.array([MESSAGE_SOURCES[messages[i]["channel"]] for i in index])
    tags = [world.tag(messages[i]["program"], messages[i]["arm"]) for i in index]
    arms = [effects.parse_arm(messages[i]["arm"]) for i in index]
    mobile = generator(world.seed, "visits", world.lived_days + 60_000).random(len(rows)) < 0.5
    slot = choices(
        generator(world.seed, "visits", world.lived_days + 70_000),
        world.people["device_weights"][rows] + mobile[:, None] * np.array([0, 0.5, 0]),
    )
    return columns(
        VISIT_TYPES, len(rows), at=at, visitor=rows, place=world.people["place"][rows], slot=slot,
        agent=world.people["agents"][rows, slot], source=source, tag=tags, cause=source,
        discount=[arm.offer if arm.offer > 0 else 0.0 for arm in arms],
    )  # fmt: skip


def _truth(messages: list[Message], people: np.ndarray, odds: Odds, hours: np.ndarray) -> list[Row]:
    return [
        {
            "message_key": message["message_key"],
            "person": int(people[index]),
            "program": message["program"],
            "arm": message["arm"],
            "accepted_at": message["at"],
            "hour_of_week": int(hours[index]),
            "click_probability": float(odds.click[index]),
            "purchase_probability": float(odds.buy[index]),
        }
        for index, message in enumerate(messages)
    ]


def _goodbyes(
    world: World, messages: list[Message], people: np.ndarray, answers: Answers
) -> list[Row]:
    rows = []
    for index, at, channel in answers.goodbyes:
        person = int(people[index])
        if person >= 0:
            world.people["email_ok" if channel == "email" else "sms_ok"][person] = False
        rows.append(
            {
                "channel": channel,
                "identifier_value": messages[index]["address"],
                "status": "revoked",
                "at": at,
                "person": person,
            }
        )
    return rows
