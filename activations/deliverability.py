"""Deliverability: what mailbox providers and carriers hold against a finished message. Pure.

Belongs here: segments of a text message, findings about a rendered e-mail, words that filters know.
Keep out: rendering (`copy.py`), which words are approved (`variants.py`).
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urlsplit

# 3GPP TS 23.038, section 6.2.1: the default alphabet, and the characters that cost two septets.
GSM_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    "ÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM_EXTENDED = frozenset("^{}\\[~]|€\f")
# 3GPP TS 23.040, section 9.2.3.24.1: a joined text gives 6 of its 140 octets to the header, so
# 160 septets become 153 and 70 UTF-16 units become 67.
ALONE = {"GSM-7": 160, "UCS-2": 70}
JOINED = {"GSM-7": 153, "UCS-2": 67}
SPAM_WORDS = (
    "act now", "click here", "free money", "guaranteed", "last chance", "no risk", "risk-free",
    "100% free", "urgent", "winner", "you have won", "!!!", "$$$",
)  # fmt: skip
# Gmail shows the first 102 KB of a message and hides the rest, the way out included, behind a
# link ("Message clipped").
EMAIL_BYTES = 102 * 1024
# SpamAssassin, HTML_IMAGE_ONLY_04: images with at most 400 bytes of words.
WORDS_BESIDE_IMAGES = 400
# What merge fields look like here and in the tools that words are copied from.
LEFT_OVER = re.compile(r"\{\{|\}\}|\{%|%\}|\*\|\w+\|\*|%%\w+%%|\[\[\w+\]\]|<%=?")
IN_CAPITALS = re.compile(r"(?:\b[A-Z]{4,}\b\W+){2,}\b[A-Z]{4,}\b")


@dataclass(frozen=True)
class Segments:
    """How a text travels: its alphabet, its length in that alphabet's units, and in how many."""

    encoding: str
    units: int
    count: int


def segments(text: str) -> Segments:
    """Count the parts a carrier makes of a text, and bills.

    One character outside GSM-7 puts all of it into UCS-2. No character is cut in two: neither an
    escaped one in GSM-7 nor a surrogate pair.
    """
    is_gsm = set(text) <= GSM_BASIC | GSM_EXTENDED
    encoding = "GSM-7" if is_gsm else "UCS-2"
    widths = [
        1 + (character in GSM_EXTENDED if is_gsm else ord(character) > 0xFFFF) for character in text
    ]
    if sum(widths) <= ALONE[encoding]:
        return Segments(encoding, sum(widths), 1)
    count, used = 1, 0
    for width in widths:
        if used + width > JOINED[encoding]:
            count, used = count + 1, 0
        used += width
    return Segments(encoding, sum(widths), count)


def spam_words(text: str) -> list[str]:
    """Words and signs in a text that filters know, and shouting."""
    lowered = text.lower()
    found = [f"spam word: {word}" for word in SPAM_WORDS if word in lowered]
    return found + (["three words in capitals"] if IN_CAPITALS.search(text) else [])


def left_over_fields(*parts: str | None) -> list[str]:
    """Merge fields that nobody filled in, in finished parts of a message."""
    signs = {match.group() for part in parts for match in LEFT_OVER.finditer(part or "")}
    return [f"merge field left over: {sign}" for sign in sorted(signs)]


def lint_html(html: str, hosts: Collection[str]) -> list[str]:
    """Findings about a rendered e-mail: size, where its links lead, images against words.

    `hosts` are the sender's own: a link to another domain is judged by that domain's name, which
    is not ours to keep.
    """
    page = _Page()
    page.feed(html)
    page.close()
    problems = []
    size = len(html.encode())
    if size > EMAIL_BYTES:
        problems.append(f"{size} bytes, mailboxes show {EMAIL_BYTES}")
    for link in sorted({*page.links, *page.images}):
        problems += _lint_link(link, hosts)
    words = len(" ".join("".join(page.text).split()))
    if page.images and words <= WORDS_BESIDE_IMAGES:
        problems.append(f"{len(page.images)} images beside {words} characters of text")
    if page.without_alt:
        problems.append(f"{page.without_alt} images without alt text")
    if page.forbidden:
        problems.append(f"elements that mailboxes remove: {', '.join(sorted(page.forbidden))}")
    return problems


def _lint_link(link: str, hosts: Collection[str]) -> list[str]:
    parts = urlsplit(link)
    if parts.scheme != "https":
        return [f"a link that is not https: {parts.scheme or 'no scheme'}"]
    return [] if parts.hostname in hosts else [f"a link to another domain: {parts.hostname}"]


@dataclass
class _Page(HTMLParser):
    """What a mailbox would see of a page."""

    links: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    without_alt: int = 0
    forbidden: set[str] = field(default_factory=set)
    hidden: int = 0

    HIDDEN = frozenset({"style", "title", "head"})
    REMOVED = frozenset({"script", "iframe", "form", "object", "embed", "video", "audio"})

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        held = dict(attrs)
        if tag == "a" and held.get("href"):
            self.links.append(held["href"] or "")
        if tag == "img":
            self.images.append(held.get("src") or "")
            self.without_alt += held.get("alt") is None
        if tag in self.REMOVED:
            self.forbidden.add(tag)
        self.hidden += tag in self.HIDDEN

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag in self.HIDDEN

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.text.append(data)
