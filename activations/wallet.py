"""The wallet: double entry, integer minor units, every transaction sums to zero.

Belongs here: posting, balances, the monthly allowance of a program, reservations.
Keep out: what a message costs (`programs.py`), who may spend (`guardrails.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from activations import audit
from activations.keys import stable_id
from warehouse import Warehouse

FUNDING = "funding"
# Settlements are derived from books and states: two at once would post the same difference.
SETTLE_LOCK = 0x10095D88
# ISO 4217: currencies without a minor unit; all others that we meet have two decimals.
WITHOUT_MINOR_UNIT = frozenset({"JPY", "KRW", "CLP", "ISK", "VND", "XAF", "XOF", "UGX"})


class UnbalancedError(ValueError):
    """A transaction whose entries do not sum to zero."""


@dataclass(frozen=True)
class Transaction:
    """Movements of one moment: account -> signed amount in minor units, summing to zero."""

    transaction_id: str
    movements: Mapping[str, int]
    currency: str
    occurred_at: datetime
    reference: str


def minor_units(amount: Decimal | float, currency: str) -> int:
    """An amount in the currency's smallest unit, rounded half to even."""
    exponent = 0 if currency in WITHOUT_MINOR_UNIT else 2
    return int((Decimal(str(amount)) * 10**exponent).quantize(Decimal(1)))


def major_units(amount_minor: int, currency: str) -> Decimal:
    """The inverse of `minor_units`."""
    exponent = 0 if currency in WITHOUT_MINOR_UNIT else 2
    return Decimal(amount_minor).scaleb(-exponent)


def post(warehouse: Warehouse, connection: Any, transaction: Transaction) -> bool:
    """Write a transaction once; False when it is there already. Raises UnbalancedError."""
    movements = {name: amount for name, amount in transaction.movements.items() if amount}
    if sum(movements.values()) != 0:
        raise UnbalancedError(f"{transaction.reference}: entries sum to {sum(movements.values())}")
    if not movements:
        return False
    rows = pa.table(
        {
            "entry_id": [stable_id(transaction.transaction_id, name) for name in movements],
            "transaction_id": [transaction.transaction_id] * len(movements),
            "account": list(movements),
            "amount_minor": list(movements.values()),
            "currency": [transaction.currency] * len(movements),
            "occurred_at": [transaction.occurred_at] * len(movements),
            "reference": [transaction.reference] * len(movements),
        }
    )
    if not warehouse.insert_missing("delivery.wallet_entries", rows, ["entry_id"], connection):
        return False
    audit.append(
        connection, transaction.occurred_at, "wallet", "post", "wallet", transaction.transaction_id
    )
    return True


def balance(connection: Any, account: str, before: datetime) -> int:
    """What an account held before a moment, in minor units."""
    row = connection.execute(
        "select coalesce(sum(amount_minor), 0)::bigint as balance from delivery.wallet_entries"
        " where account = %s and occurred_at < %s",
        [account, before],
    ).fetchone()
    return int(row["balance"])


def allowance(program: str, amount_minor: int, currency: str, as_of: datetime) -> Transaction:
    """The month's money of a program, due at the month's first moment (UTC)."""
    month = datetime(as_of.astimezone(UTC).year, as_of.astimezone(UTC).month, 1, tzinfo=UTC)
    return Transaction(
        stable_id("allowance", program, month.date()),
        {FUNDING: -amount_minor, f"program:{program}": amount_minor},
        currency,
        month,
        f"allowance {program} {month:%Y-%m}",
    )


def spendable(connection: Any, program: str, monthly_minor: int, as_of: datetime) -> int:
    """What a program may still promise at `as_of`: its balance and, if not posted, its month.

    Entries made at `as_of` itself do not count, so a second run of the day sees what the
    first one saw.
    """
    month = allowance(program, monthly_minor, "", as_of)
    posted = connection.execute(
        "select 1 from delivery.wallet_entries where transaction_id = %s limit 1",
        [month.transaction_id],
    ).fetchone()
    return balance(connection, f"program:{program}", as_of) + (0 if posted else monthly_minor)


def settlements(connection: Any, now: datetime) -> list[Transaction]:
    """What must move so that the books say what the messages say; none when they agree.

    A message that went out is spent; one that was skipped, or failed without going out, gives
    its money back to the program. Derived from states, so a crash in between is made up for.
    Post them in the same transaction: until it ends, nobody else settles.
    """
    connection.execute("select pg_advisory_xact_lock(%s)", [SETTLE_LOCK])
    rows = connection.execute(
        """
        with costs as (
            select
                program,
                sum(cost_amount) as total_amount,
                sum(cost_amount) filter (where sent_at is not null) as spent_amount,
                sum(cost_amount) filter (
                    where sent_at is null and status in ('skipped', 'failed')
                ) as freed_amount
            from delivery.messages
            where cost_amount > 0
            group by program
        ),

        books as (
            select
                split_part(account, ':', 2) as program, min(currency) as currency,
                sum(amount_minor) filter (where account like 'reserved:%%') as reserved,
                sum(amount_minor) filter (where account like 'spent:%%') as spent
            from delivery.wallet_entries
            where account like 'reserved:%%' or account like 'spent:%%'
            group by 1
        )

        select
            program, books.currency, total_amount, coalesce(spent_amount, 0) as spent_amount,
            coalesce(freed_amount, 0) as freed_amount,
            coalesce(books.reserved, 0)::bigint as reserved,
            coalesce(books.spent, 0)::bigint as spent
        from costs inner join books using (program)
        order by program
        """,
        {},
    ).fetchall()
    return [move for row in rows if (move := _settlement(row, now)) is not None]


def _settlement(row: Mapping[str, Any], now: datetime) -> Transaction | None:
    program, currency = row["program"], row["currency"]
    spent = minor_units(row["spent_amount"], currency) - row["spent"]
    open_minor = minor_units(
        row["total_amount"] - row["spent_amount"] - row["freed_amount"], currency
    )
    freed = row["reserved"] - open_minor - spent
    if spent == 0 and freed == 0:
        return None
    return Transaction(
        stable_id("settle", program, audit.moment(now), row["reserved"], row["spent"]),
        {
            f"reserved:{program}": -spent - freed,
            f"spent:{program}": spent,
            f"program:{program}": freed,
        },
        currency,
        now,
        f"settle {program}",
    )


def imbalances(warehouse: Warehouse) -> list[str]:
    """Transactions that do not sum to zero per currency; empty when the books are right."""
    rows = warehouse.rows(
        "select transaction_id from delivery.wallet_entries"
        " group by transaction_id, currency having sum(amount_minor) <> 0 order by transaction_id"
    )
    return [row["transaction_id"] for row in rows]
