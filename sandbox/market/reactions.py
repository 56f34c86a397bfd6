"""What becomes of an accepted message: webhooks of the providers, clicks, goodbyes.

Belongs here: the course of events after a provider said yes, in the providers' own words. Does
not belong here: how likely a person is to click (`effects`), the visit that follows (`sessions`).

Delays are mixtures of lognormals (half of the openers within the hour, the others the next time
they look), and every message's fate hangs on its own key alone.
Sources: SendGrid Event Webhook reference; Twilio outbound message status callbacks.
"""

import json
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any, Final

import numpy as np

from sandbox.market.crm import iso
from sandbox.market.draws import delays, token, uniforms

NORMAL: Final = NormalDist()
GATEWAY: Final = "https://gateway.example.com/webhooks"
OPEN_DELAYS: Final = ((0.55, 1_200.0, 0.9), (0.45, 28_800.0, 0.6))
SMS_DELAYS: Final = ((0.75, 360.0, 1.0), (0.25, 10_800.0, 0.7))
MACHINE_DELAYS: Final = ((0.7, 600.0, 1.3), (0.3, 14_400.0, 0.8))
LATER_DELAYS: Final = ((0.6, 14_400.0, 0.8), (0.4, 130_000.0, 0.5))
CLICK_SHARE_OF_OPENS: Final = 0.34
BUYS_AT_ONCE: Final = 0.7

Message = dict[str, Any]


@dataclass(frozen=True)
class Odds:
    """Per message, shape (n,): what the addressee is like.

    `click` is P(click | delivered) at this hour; `buy` is P(purchase caused | click);
    `bounce` is P(hard bounce); `machine` says whether the mailbox fetches images by itself,
    `scanner` whether links are followed by a filter; `leave` is P(goodbye | delivered).
    """

    click: np.ndarray
    buy: np.ndarray
    bounce: np.ndarray
    machine: np.ndarray
    scanner: np.ndarray
    leave: np.ndarray


@dataclass
class Answers:
    """What came of the messages; times are UTC seconds, indices point to the messages.

    `purchases` are (index, at, clicked): a visit that ends in an order.
    `goodbyes` are (index, at, channel): from then on the person hears nothing there.
    """

    webhooks: list[tuple[float, str]] = field(default_factory=list)
    delivered: list[int] = field(default_factory=list)
    clicks: list[tuple[int, float]] = field(default_factory=list)
    purchases: list[tuple[int, float, bool]] = field(default_factory=list)
    goodbyes: list[tuple[int, float, str]] = field(default_factory=list)


def answer(seed: int, messages: list[Message], odds: Odds, view_through: float) -> Answers:
    """Play the messages' fates.

    Args:
        seed: the market's seed.
        messages: as accepted, with `at` (UTC seconds) added.
        odds: one row a message.
        view_through: share of the purchase probability that needs no click.
    """
    answers = Answers()
    draws = uniforms(seed, [message["message_key"] for message in messages], "answer", 16)
    for index, message in enumerate(messages):
        fate = _Fate(seed, index, message, draws[index], odds, answers, view_through)
        if message["channel"] == "email":
            _email(fate)
        elif message["channel"] == "sms":
            _sms(fate)
    answers.webhooks.sort()
    return answers


@dataclass(frozen=True)
class _Fate:
    seed: int
    index: int
    message: Message
    draw: np.ndarray
    odds: Odds
    answers: Answers
    view_through: float

    @property
    def at(self) -> float:
        return float(self.message["at"])

    def delay(self, first: int, parts: tuple[tuple[float, float, float], ...]) -> float:
        normal = np.array([NORMAL.inv_cdf(float(self.draw[first + 1]))])
        return float(delays(self.draw[first : first + 1], normal, parts)[0])

    def tell(self, provider: str, at: float, payload: dict[str, Any], repeat: bool) -> None:
        query = "?" + "&".join(f"{name}={self.message[name]}" for name in
                               ("message_key", "program", "arm"))  # fmt: skip
        keyed = provider == "twilio" and "Body" not in payload
        url = f"{GATEWAY}/{provider}{query if keyed else ''}"
        waits = (1.5, 65.0) if repeat else (1.5,)
        for wait in waits:
            line = {"provider": provider, "received_at": iso(at + wait), "url": url}
            text = json.dumps(line | {"payload": payload}, ensure_ascii=False)
            self.answers.webhooks.append((round(at + wait, 3), text))


def _email(fate: _Fate) -> None:
    odds, draw, index = fate.odds, fate.draw, fate.index
    _mail_event(fate, "processed", fate.at + 1.0)
    if draw[0] < odds.bounce[index]:
        reason = {"type": "bounce", "status": "5.1.1", "reason": "550 5.1.1 unknown mailbox"}
        return _mail_event(fate, "bounce", fate.at + 4.0, **reason)
    if draw[0] > 0.9965:
        reason = {"type": "blocked", "status": "4.2.2", "reason": "452 4.2.2 mailbox full"}
        return _mail_event(fate, "bounce", fate.at + 9.0, **reason)
    late = 0.985 < draw[0] <= 0.9965
    arrived = fate.at + (1800.0 if late else 3.0 + 8.0 * draw[1])
    if late:
        reason = {"attempt": "1", "response": "421 4.7.0 try again later"}
        _mail_event(fate, "deferred", fate.at + 5.0, **reason)
    _mail_event(fate, "delivered", arrived, response="250 OK")
    fate.answers.delivered.append(index)
    if odds.machine[index] and draw[2] < 0.92:
        opened = arrived + fate.delay(3, MACHINE_DELAYS)
        _mail_event(fate, "open", opened, sg_machine_open=True)
    if odds.scanner[index]:
        _mail_event(fate, "click", arrived + 2.0, url=_link(fate))
    _read_mail(fate, arrived)


def _read_mail(fate: _Fate, arrived: float) -> None:
    draw, click = fate.draw, float(fate.odds.click[fate.index])
    opens = min(click / CLICK_SHARE_OF_OPENS, 0.95)
    opened = arrived + fate.delay(5, OPEN_DELAYS)
    if draw[7] < opens:
        _mail_event(fate, "open", opened, sg_machine_open=False)
        clicked = draw[7] < click
        if clicked:
            _clicked(fate, opened + 5.0 + 70.0 * draw[8])
            _mail_event(fate, "click", opened + 5.0 + 70.0 * draw[8], url=_link(fate))
    else:
        clicked = False
    _buy(fate, clicked, opened)
    _leave_mail(fate, opened)


def _leave_mail(fate: _Fate, opened: float) -> None:
    leave = float(fate.odds.leave[fate.index])
    if fate.draw[9] < 0.12 * leave:
        _mail_event(fate, "spamreport", opened + 20.0)
    elif fate.draw[9] < leave:
        _mail_event(fate, "unsubscribe", opened + 30.0)
    else:
        return
    fate.answers.goodbyes.append((fate.index, opened + 30.0, "email"))


def _mail_event(fate: _Fate, event: str, at: float, **more: object) -> None:
    message = fate.message
    identity = token(fate.seed, message["message_key"], event, more.get("sg_machine_open"), at)
    payload = {
        "email": message["address"],
        "timestamp": int(at),
        "event": event,
        "category": [message["program"]],
        "sg_event_id": identity,
        "sg_message_id": f"{message['provider_message_id']}.recvd-0",
        "message_key": message["message_key"],
        "program": message["program"],
        "arm": message["arm"],
    }
    repeat = fate.draw[10] < 0.004
    fate.tell("sendgrid", at, payload | more, repeat)


def _link(fate: _Fate) -> str:
    message = fate.message
    query = f"utm_source=loopdrive&utm_medium={message['channel']}&utm_campaign="
    return f"https://shop.example.com/?{query}{message['program']}"


def _sms(fate: _Fate) -> None:
    draw, message, index = fate.draw, fate.message, fate.index
    base = {"MessageSid": message["provider_message_id"], "To": message["address"]}
    fate.tell("twilio", fate.at + 1.0, base | {"MessageStatus": "sent"}, repeat=False)
    if draw[0] < fate.odds.bounce[index]:
        error = {"MessageStatus": "undelivered", "ErrorCode": "30005"}
        return fate.tell("twilio", fate.at + 20.0, base | error, repeat=False)
    arrived = fate.at + 4.0 + 10.0 * draw[1]
    fate.tell("twilio", arrived, base | {"MessageStatus": "delivered"}, repeat=draw[10] < 0.004)
    fate.answers.delivered.append(index)
    read = arrived + fate.delay(5, SMS_DELAYS)
    clicked = bool(draw[7] < fate.odds.click[index])
    if clicked:
        _clicked(fate, read)
        payload = {
            "message_key": message["message_key"],
            "event": "click",
            "event_id": token(fate.seed, message["message_key"], "link"),
            "timestamp": int(read),
        }
        fate.tell("links", read, payload, repeat=False)
    _buy(fate, clicked, read)
    if draw[9] < fate.odds.leave[index]:
        sid = "SM" + token(fate.seed, message["message_key"], "stop", length=32)
        stop = {"From": message["address"], "Body": "STOP", "MessageSid": sid}
        fate.tell("twilio", read + 40.0, stop, repeat=False)
        fate.answers.goodbyes.append((index, read + 40.0, "sms"))


def _clicked(fate: _Fate, at: float) -> None:
    fate.answers.clicks.append((fate.index, round(at + 2.0, 3)))


def _buy(fate: _Fate, clicked: bool, read: float) -> None:
    """Purchases the message caused: at once, later, or seldom without any click."""
    draw, buy = fate.draw, float(fate.odds.buy[fate.index])
    later = round(read + 1800.0 + fate.delay(13, LATER_DELAYS), 3)
    if clicked and draw[11] < buy * BUYS_AT_ONCE:
        fate.answers.purchases.append((fate.index, fate.answers.clicks[-1][1], True))
    elif (clicked and draw[11] < buy) or (not clicked and draw[12] < buy * fate.view_through):
        fate.answers.purchases.append((fate.index, later, False))
