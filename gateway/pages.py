"""Pages that a person sees: the choices, what was done, what went wrong.

Belongs here: words and layout. Keep out: what a choice does (`preferences.py`).
"""

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gateway.bodies import RefusedError
from warehouse.settings import BrandSettings

FOLDER = Path(__file__).parent / "templates"
STYLE = (
    "body{margin:0;background:#f5f4f1;font:16px/1.5 Georgia,serif;color:#222}"
    "main{max-width:560px;margin:0 auto;padding:32px 24px;background:#fff}"
    "h1{font-size:24px;font-weight:normal}"
    "button{padding:12px 20px;border:0;background:#1f4d3a;color:#fff;font:inherit;cursor:pointer}"
    "button.quiet{background:#fff;color:#1f4d3a;border:1px solid #1f4d3a}"
    "fieldset{border:1px solid #ddd}footer{margin-top:32px;font-size:13px;color:#595959}"
)
_DIGEST = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'sha256-{_DIGEST}'; form-action 'self';"
    " frame-ancestors 'none'; base-uri 'none'"
)
_TROUBLE = {
    "unknown_link": "This link is not complete, or not one of ours. Please use the link of the"
    " latest message, or answer that message.",
    "nothing_chosen": "Nothing was ticked, so nothing has changed.",
    "not_available": "We have noted your wish, but it is not in force yet. Please try again in a"
    " moment.",
    "too_many_requests": "That was too often. Please try again in a moment.",
}


def choose(
    brand: BrandSettings, channel: str, choices: Sequence[tuple[str, str, str]]
) -> HTMLResponse:
    """What a person may stop; `choices` are (field, value, label)."""
    return _page(brand, "What shall we stop sending?", [], 200, channel, choices)


def done(brand: BrandSettings) -> HTMLResponse:
    """It is in force."""
    return _page(brand, "Done", ["You will not get these messages any more."], 200)


def trouble(brand: BrandSettings, error: RefusedError) -> HTMLResponse:
    """Nothing was changed, or not yet."""
    text = _TROUBLE.get(error.reason, "This request could not be read.")
    page = _page(brand, "Not done", [text], error.status)
    if error.retry_after is not None:
        page.headers["Retry-After"] = str(error.retry_after)
    return page


def _page(
    brand: BrandSettings,
    title: str,
    lines: Sequence[str],
    status: int,
    channel: str = "",
    choices: Sequence[tuple[str, str, str]] = (),
) -> HTMLResponse:
    text = (
        _templates()
        .get_template("page.html.j2")
        .render(
            brand=brand.name,
            postal_address=brand.postal_address,
            style=STYLE,
            title=title,
            lines=lines,
            channel=channel,
            choices=choices,
        )
    )
    return HTMLResponse(text, status, {"Content-Security-Policy": POLICY})


@cache
def _templates() -> Environment:
    return Environment(loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined)
