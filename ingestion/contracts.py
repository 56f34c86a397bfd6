"""Row contracts of the sources that come as tables, and of provider events.

Belongs here: which columns a source has, their types, keys, and what a changed row means.
Keep out: SQL, reading, writing.
"""

from dataclasses import dataclass
from typing import Literal

ValueType = Literal[
    "text", "id", "decimal", "whole", "instant", "date", "flag", "currency", "email", "phone"
]

IDENTIFIER_TYPES = (
    "user_id", "email", "phone", "crm_contact_id", "device_id", "anonymous_id", "ad_click_id",
)  # fmt: skip


@dataclass(frozen=True)
class Field:
    """One column: its type, whether a row without it is refused, the values it may take.

    `is_column_required` is for a value that may be null in a row but whose column must be there:
    a renamed column would otherwise read as a column of nulls.
    """

    name: str
    type: ValueType = "text"
    is_required: bool = False
    is_column_required: bool = False
    allowed: tuple[str, ...] = ()
    default: str | None = None


@dataclass(frozen=True)
class Contract:
    """One source kind. `key` is unique within a batch; rows with the same key and the same
    `compared` columns are duplicates of each other.

    `changed` says what a row with a known key and other content is: a new version of it, or a
    reject with that reason. Versions: the last row of a file is the one that counts.
    """

    kind: str
    fields: tuple[Field, ...]
    key: tuple[str, ...]
    compared: tuple[str, ...]
    changed: str = "version"
    has_source: bool = False
    keeps_other_columns: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns written to raw.<kind>, batch_id apart."""
        source = ("source",) if self.has_source else ()
        others = ("properties",) if self.keeps_other_columns else ()
        return source + tuple(field.name for field in self.fields) + others

    @property
    def is_versioned(self) -> bool:
        """Whether changed rows are appended as new versions."""
        return self.changed == "version"


CRM_CONTACTS = Contract(
    kind="crm_contacts",
    fields=(
        Field("contact_id", "id", is_required=True),
        Field("email", "email", is_column_required=True),
        Field("phone", "phone"),
        Field("first_name"),
        Field("last_name"),
        Field("city"),
        Field("region"),
        Field("country"),
        Field("postal_code"),
        Field("birth_date", "date"),
        Field("time_zone"),
        Field("locale"),
        Field("updated_at", "instant", is_required=True),
    ),
    key=("source", "contact_id", "updated_at"),
    compared=(
        "email", "phone", "first_name", "last_name", "city", "region", "country", "postal_code",
        "birth_date", "time_zone", "locale", "properties",
    ),
    has_source=True,
    keeps_other_columns=True,
)  # fmt: skip

CRM_CONSENTS = Contract(
    kind="crm_consents",
    fields=(
        Field("identifier_type", is_required=True, allowed=IDENTIFIER_TYPES),
        Field("identifier_value", "id", is_required=True),
        Field("channel", is_required=True, allowed=("email", "sms", "push", "whatsapp")),
        Field("scope", is_required=True, allowed=("marketing", "transactional")),
        Field("status", is_required=True, allowed=("granted", "revoked", "unknown")),
        Field("regulation"),
        Field("evidence"),
        Field("recorded_at", "instant", is_required=True),
    ),
    key=(
        "source", "identifier_type", "identifier_value", "channel", "scope", "recorded_at",
        "status",
    ),
    compared=(),
    changed="consent_reused",
    has_source=True,
)  # fmt: skip

CRM_DEALS = Contract(
    kind="crm_deals",
    fields=(
        Field("deal_id", "id", is_required=True),
        Field("contact_id", "id", is_column_required=True),
        Field("stage", is_required=True),
        Field("amount", "decimal"),
        Field("currency", "currency"),
        Field("created_at", "instant", is_required=True),
        Field("closed_at", "instant"),
        Field("is_won", "flag"),
    ),
    key=("source", "deal_id"),
    compared=(
        "contact_id", "stage", "amount", "currency", "created_at", "closed_at", "is_won",
        "properties",
    ),
    has_source=True,
    keeps_other_columns=True,
)  # fmt: skip

PRODUCTS = Contract(
    kind="products",
    fields=(
        Field("product_id", "id", is_required=True),
        Field("name", is_required=True),
        Field("category"),
        Field("price_amount", "decimal"),
        Field("currency", "currency"),
        Field("url"),
        Field("image_url"),
        Field("in_stock", "flag"),
        Field("description"),
    ),
    key=("product_id",),
    compared=(
        "name", "category", "price_amount", "currency", "url", "image_url", "in_stock",
        "description",
    ),
)  # fmt: skip

AD_SPEND = Contract(
    kind="ad_spend",
    fields=(
        Field("date", "date", is_required=True),
        Field("platform", is_required=True),
        Field("account_id", "id", is_required=True),
        Field("campaign_id", "id", is_required=True),
        Field("campaign_name"),
        Field("ad_set_id", "id", default=""),
        Field("channel", is_required=True),
        Field("impressions", "whole", is_required=True),
        Field("clicks", "whole", is_required=True),
        Field("spend_amount", "decimal", is_required=True),
        Field("currency", "currency", is_required=True),
        Field("platform_conversions", "decimal"),
        Field("platform_revenue_amount", "decimal"),
    ),
    key=("date", "platform", "account_id", "campaign_id", "ad_set_id"),
    compared=(
        "campaign_name", "channel", "impressions", "clicks", "spend_amount", "currency",
        "platform_conversions", "platform_revenue_amount",
    ),
)  # fmt: skip

CURRENCY_RATES = Contract(
    kind="currency_rates",
    fields=(
        Field("date", "date", is_required=True),
        Field("currency", "currency", is_required=True),
        Field("rate_to_workspace", "decimal", is_required=True),
    ),
    key=("date", "currency"),
    compared=("rate_to_workspace",),
)

# A line has no id of its own: merging.py compares whole lines within their order.
ORDER_LINES = Contract(
    kind="order_lines",
    fields=(
        Field("order_id", "id", is_required=True),
        Field("line_number"),
        Field("kind", allowed=("sale", "credit_note", "adjustment")),
        Field("product_id", "id", is_column_required=True),
        Field("description"),
        Field("quantity", "decimal", is_required=True),
        Field("unit_price_amount", "decimal", is_required=True),
        Field("currency", "currency"),
        Field("ordered_at", "instant", is_required=True),
        Field("customer_id", "id", is_column_required=True),
        Field("country"),
    ),
    key=("source", "order_id", "line_number"),
    compared=(
        "kind", "product_id", "description", "quantity", "unit_price_amount", "currency",
        "ordered_at", "customer_id", "country",
    ),
    changed="order_line_changed",
    has_source=True,
)  # fmt: skip

# The payload is left out of the comparison: a webhook repeated carries other headers and counters.
# So is the time: an event without one of its own (Twilio) takes that of its arrival.
PROVIDER_EVENTS = Contract(
    kind="provider_events",
    fields=(
        Field("provider", is_required=True),
        Field("provider_event_id", is_required=True),
        Field("message_key"),
        Field("type", is_required=True),
        Field("occurred_at", "instant", is_required=True),
        Field("payload", is_required=True),
        Field("received_at", "instant", is_required=True),
    ),
    key=("provider", "provider_event_id"),
    compared=("message_key", "type"),
    changed="event_id_reused",
)

TABLES = {
    contract.kind: contract
    for contract in (
        CRM_CONTACTS, CRM_CONSENTS, CRM_DEALS, PRODUCTS, AD_SPEND, CURRENCY_RATES, ORDER_LINES,
    )
}  # fmt: skip
