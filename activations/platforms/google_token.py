"""Access tokens for Google's APIs from a service account or a refresh token.

Belongs here: the OAuth 2.0 token request (RFC 7523 and RFC 6749 section 6) and its answer.
Keep out: storing tokens; which API is called with them. The one place of this folder with I/O.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
from google.auth import crypt, jwt

from activations.http import Answer, Request, Response, send

HOSTS = frozenset({"oauth2.googleapis.com"})
TOKEN_URL = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address, not a secret
SCOPES = (
    "https://www.googleapis.com/auth/adwords",
    "https://www.googleapis.com/auth/datamanager",
)
# What each of our adapters needs, and no more.
SCOPES_OF: Mapping[str, Sequence[str]] = {
    "google": SCOPES,
    "fcm": ("https://www.googleapis.com/auth/firebase.messaging",),
}
LIFETIME_SECONDS = 3600


def token_request(
    credentials: str, now: datetime, token_url: str = TOKEN_URL, scopes: Sequence[str] = SCOPES
) -> Request:
    """Build the request for an access token from the JSON of a Google credential.

    Raises ValueError for a credential that is neither `service_account` nor `authorized_user`.
    """
    info: dict[str, Any] = json.loads(credentials)
    kind = info.get("type")
    if kind == "service_account":
        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
            "assertion": _assertion(info, now, scopes),
        }
    elif kind == "authorized_user":
        form = {
            "grant_type": "refresh_token",
            "client_id": info["client_id"],
            "client_secret": info["client_secret"],
            "refresh_token": info["refresh_token"],
        }
    else:
        raise ValueError(f"Google credentials of type {kind!r} cannot be used here")
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return Request("POST", token_url, headers, urlencode(form).encode())


def access_token(
    path: str, client: httpx.Client, now: datetime, scopes: Sequence[str] = SCOPES
) -> str:
    """Return an access token for the credential file at `path`, good for an hour.

    `now` is the true time, not business time: Google refuses assertions of another hour.
    Raises OSError for a missing file, ValueError for a refused credential.
    """
    credentials = Path(path).read_text(encoding="utf-8")
    return parse_token(send(client, token_request(credentials, now, scopes=scopes)))


def parse_token(answer: Answer) -> str:
    """Return the access token. Raises ValueError naming the status, never the body."""
    body = answer.json() if isinstance(answer, Response) else None
    if isinstance(body, dict) and body.get("access_token"):
        return str(body["access_token"])
    status = answer.status if isinstance(answer, Response) else answer.reason
    raise ValueError(f"Google gave no access token ({status}); check GOOGLE_CREDENTIALS")


def _assertion(info: dict[str, Any], now: datetime, scopes: Sequence[str]) -> str:
    issued = int(now.timestamp())
    claims = {
        "iss": info["client_email"], "aud": TOKEN_URL, "scope": " ".join(scopes), "iat": issued,
        "exp": issued + LIFETIME_SECONDS,
    }  # fmt: skip
    signer = crypt.RSASigner.from_service_account_info(info)
    return jwt.encode(signer, claims).decode()
