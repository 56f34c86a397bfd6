"""Copy: words with merge fields in, a finished message out, and the lint that guards both.

Belongs here: merge values, sandboxed rendering, layouts, length and content checks.
Keep out: which words are approved and picked (`variants.py`), who writes them (`drafts.py`), what
filters and carriers count (`deliverability.py`).
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from jinja2 import StrictUndefined, Template, TemplateError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from activations import deliverability
from activations.programs import Arm
from activations.tokens import unsubscribe_token
from warehouse.settings import BrandSettings

LAYOUTS = Path(__file__).parent / "templates"
MERGE_FIELDS = frozenset({"first_name", "brand", "item", "offer_percent", "offer_code", "link"})
NO_NAME, NO_ITEM = "there", "your choice"
# Inboxes show some 60 characters; twice that is the most the longest name and item may make.
SUBJECT_LENGTH = 120


@dataclass(frozen=True)
class Recipient:
    """What copy may know of one person, straight from the profile and the occasion."""

    first_name: str | None = field(repr=False, default=None)
    item: str | None = field(repr=False, default=None)
    locale: str = "en"


@dataclass(frozen=True)
class Links:
    """Where a message leads."""

    target: str
    unsubscribe: str


@dataclass(frozen=True)
class Rendered:
    """A finished message. Kept out of `repr`: it names a person."""

    text: str = field(repr=False)
    subject: str | None = field(repr=False, default=None)
    html: str | None = field(repr=False, default=None)


class CopyError(ValueError):
    """Words that cannot be rendered; the text names the field, never a person."""


def links(brand: BrandSettings, program: str, arm: Arm, message_key: str, link_key: bytes) -> Links:
    """The message's links. All but e-mail carry a short one, which the gateway follows.

    The way out is signed with `link_key`: nobody can make one for another's message.
    """
    is_short = arm.channel != "email"
    short = f"{brand.gateway_url}/l/{message_key[:16]}"
    long = landing(brand.site_url, program, arm.channel, arm.name)
    token = unsubscribe_token(link_key, message_key)
    return Links(short if is_short else long, f"{brand.gateway_url}/unsubscribe/{token}")


@lru_cache(maxsize=256)
def landing(site_url: str, program: str, channel: str, arm: str) -> str:
    """Where a message leads, with UTM tags that name its program and arm."""
    tags = {"utm_source": "loopdrive", "utm_medium": channel, "utm_campaign": program}
    return f"{site_url}/?{urlencode(tags | {'utm_content': arm})}"


def offer_code(program: str, arm: Arm) -> str:
    """The code of an offer, as the shop knows it: `WINBACK20`; empty without an offer."""
    return f"{program.replace('_', '').upper()[:8]}{arm.offer_percent}" if arm.offer_percent else ""


def render(
    subject: str | None,
    body: str,
    arm: Arm,
    program: str,
    recipient: Recipient,
    brand: BrandSettings,
    to: Links,
) -> Rendered:
    """Fill words for one person. Raises CopyError when a field is unknown or the syntax broken."""
    values = _merge_values(arm, program, recipient, brand, to)
    try:
        text = _template(body.strip()).render(values)
        if arm.channel != "email":
            return Rendered(text=" ".join(text.split()))
        heading = " ".join(_template(subject or "").render(values).split())
    except TemplateError as error:
        raise CopyError(f"{program} {arm.name}: {type(error).__name__}") from error
    frame = {
        "blocks": _blocks(text),
        "subject": heading,
        "link": to.target,
        "unsubscribe_url": to.unsubscribe,
        "postal_address": brand.postal_address,
        "brand": brand.name,
        "language": recipient.locale[:2],
    }
    return Rendered(
        text=_layout("email.txt.j2", False).render(frame).strip() + "\n",
        subject=heading,
        html=_layout("email.html.j2", True).render(frame),
    )


def lint(subject: str | None, body: str, arm: Arm, program: str, brand: BrandSettings) -> list[str]:
    """What is wrong with words, judged on the longest person they may meet; empty when fine."""
    try:
        fields = _fields(f"{subject or ''}\n{body}")
    except TemplateError as error:
        return [f"template syntax: {type(error).__name__}"]
    if unknown := sorted(fields - MERGE_FIELDS):
        return [f"unknown merge field: {name}" for name in unknown]
    longest = Recipient("Maximiliana-Alexandrine", "W" * 60)
    to = links(brand, program, arm, "0" * 32, b"any key makes a token of the same length")
    try:
        rendered = render(subject, body, arm, program, longest, brand, to)
    except CopyError as error:
        return [str(error)]
    problems = _lint_email(rendered, brand, to) if arm.channel == "email" else []
    problems += lint_sms(rendered.text) if arm.channel == "sms" else []
    return problems + _lint_words(f"{subject or ''}\n{body}", arm, rendered)


def lint_sms(text: str) -> list[str]:
    """What keeps a text from being one GSM-7 segment with a way out."""
    problems = []
    foreign = set(text) - deliverability.GSM_BASIC - deliverability.GSM_EXTENDED
    if foreign:
        problems.append(f"{len(foreign)} characters outside GSM-7")
    made = deliverability.segments(text)
    if made.count > 1:
        limit = deliverability.ALONE[made.encoding]
        unit = "septets" if made.encoding == "GSM-7" else "units"
        problems.append(f"{made.units} {unit}, one text holds {limit}: {made.count} segments")
    if "STOP" not in text:
        problems.append("no STOP")
    return problems


def layout_digest_source() -> str:
    """The text of all layouts: a part of every content hash, since it is a part of every mail."""
    return "".join(path.read_text("utf-8") for path in sorted(LAYOUTS.glob("*.j2")))


def _lint_email(rendered: Rendered, brand: BrandSettings, to: Links) -> list[str]:
    problems = []
    if not rendered.subject:
        problems.append("no subject")
    elif len(rendered.subject) > SUBJECT_LENGTH:
        problems.append(f"subject longer than {SUBJECT_LENGTH}")
    for part in (rendered.text, unescape(rendered.html or "")):
        if to.unsubscribe not in part:
            problems.append("no unsubscribe link")
        if brand.postal_address not in part:
            problems.append("no postal address")
    hosts = {urlsplit(url).hostname or "" for url in (brand.site_url, brand.gateway_url)}
    return problems + deliverability.lint_html(rendered.html or "", hosts)


def _lint_words(source: str, arm: Arm, rendered: Rendered) -> list[str]:
    lowered = source.lower()
    problems = deliverability.spam_words(source)
    problems += deliverability.left_over_fields(rendered.subject, rendered.text)
    if re.search(r"https?://|www\.", lowered):
        problems.append("a link of its own: write {{ link }} or a button")
    said = {
        int(number) for number in re.findall(r"(\d+)\s?%", f"{rendered.subject} {rendered.text}")
    }
    if said - {arm.offer_percent}:
        problems.append("promises an offer that the arm does not have")
    if arm.offer_percent and arm.offer_percent not in said:
        problems.append("does not state its offer")
    return problems


def _merge_values(
    arm: Arm, program: str, recipient: Recipient, brand: BrandSettings, to: Links
) -> Mapping[str, Any]:
    name, item = _name(recipient.first_name), _plain(recipient.item) or NO_ITEM
    if arm.channel == "sms":
        name, item = _gsm(name)[:12] or NO_NAME, _gsm(item)[:24]
    return {
        "first_name": name[:40],
        "item": item[:60],
        "brand": brand.name,
        "offer_percent": arm.offer_percent,
        "offer_code": offer_code(program, arm),
        "link": to.target,
    }


def _name(value: str | None) -> str:
    # Sign-up forms are fed links and adverts as names; a name is letters, nothing else.
    plain = _plain(value)
    return plain if plain and all(c.isalpha() or c in " '’-" for c in plain) else NO_NAME


def _plain(value: str | None) -> str:
    return " ".join("".join(c for c in value or "" if c.isprintable()).split())


def _gsm(value: str) -> str:
    spread = "".join(
        c if c in deliverability.GSM_BASIC else unicodedata.normalize("NFKD", c.replace("’", "'"))
        for c in value
    )
    return "".join(c for c in spread if c in deliverability.GSM_BASIC).strip()


def _blocks(text: str) -> list[tuple[str, str]]:
    paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", text.strip())]
    return [
        ("button", part[2:].strip()) if part.startswith("->") else ("paragraph", part)
        for part in paragraphs
        if part
    ]


def _fields(source: str) -> set[str]:
    return meta.find_undeclared_variables(_sandbox(False).parse(source))


@lru_cache(maxsize=2)
def _sandbox(is_html: bool) -> ImmutableSandboxedEnvironment:
    return ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, autoescape=is_html, trim_blocks=False
    )


@lru_cache(maxsize=1024)
def _template(source: str) -> Template:
    return _sandbox(False).from_string(source)


@lru_cache(maxsize=4)
def _layout(name: str, is_html: bool) -> Template:
    return _sandbox(is_html).from_string((LAYOUTS / name).read_text("utf-8"))
