"""Owns adjustments: what a vendor's bill differs by from the ledger, booked as postings that nobody changes."""

import datetime as dt
import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from backstay.core.money import NanoUSD
from backstay.ledger.reconcile import Booked, Compared
from backstay.store import Connection, Database, load_queries

_QUERIES = load_queries("backstay.ledger")
_TIMEOUT_S = 60.0


class Adjustment(msgspec.Struct, frozen=True, kw_only=True):
    """One posting between a vendor and a tenant's cost."""

    adjustment_id: str
    day: dt.date
    provider: str
    """The providers of the policy whose bill it was, with commas."""
    vendor_key: str | None
    model: str | None
    causes: list[str]
    amount_nanousd: NanoUSD
    """Above 0: the vendor billed more than the ledger had."""
    booked_at: dt.datetime
    booked_by: str

    def is_of(self, providers: Collection[str]) -> bool:
        """Whether it is of none but these providers."""
        return set(self.provider.split(",")).issubset(providers)

    def as_booked(self, *, by_key: bool) -> Booked:
        """Put it beside what the ledger has of calls."""
        return Booked(
            day=self.day,
            model=self.model,
            key=self.vendor_key if by_key else None,
            calls=0,
            cost_nanousd=self.amount_nanousd,
            adjusted_nanousd=self.amount_nanousd,
            input_tokens=0,
            output_tokens=0,
            unknown=0,
            estimated=0,
            unconfirmed=0,
        )


class Posting(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a comparison that is to be booked, for one tenant."""

    tenant_id: str
    line: Compared
    amount: NanoUSD


class Adjustments:
    """Reads and books adjustments."""

    def __init__(self, database: Database):
        self._database = database

    async def tenants(self) -> list[str]:
        """Name all tenants. Raises ``StoreUnavailable`` if Postgres does not answer."""
        async with self._database.system(timeout_s=_TIMEOUT_S) as connection:
            return [row["tenant_id"] for row in await (await connection.execute(_QUERIES["tenants"])).fetchall()]

    async def read(self, tenant_id: str, *, first: dt.date, until: dt.date) -> list[Adjustment]:
        """Read a tenant's adjustments of some days, the last one excluded."""
        async with self._database.tenant(tenant_id, timeout_s=_TIMEOUT_S) as connection:
            values = {"tenant_id": tenant_id, "first": first, "until": until}
            rows = await (await connection.execute(_QUERIES["adjustments"], values)).fetchall()
        return msgspec.convert(rows, list[Adjustment], strict=False)

    async def hold(self, connection: Connection) -> None:
        """Wait until nobody else books; until the end of the transaction, nobody else does."""
        await connection.execute(_QUERIES["one_at_a_time"])

    async def book(
        self, connection: Connection, postings: Sequence[Posting], *, file: str, provider: str, by: str
    ) -> list[Posting]:
        """Book postings, each line of a file once, and return those that were not booked before."""
        done: list[Posting] = []
        for posting in postings:
            cursor = await connection.execute(_QUERIES["adjust"], _values(posting, file, provider, by))
            if cursor.rowcount:
                done.append(posting)
        return done


def _values(posting: Posting, file: str, provider: str, by: str) -> dict[str, Any]:
    line, vendor = posting.line, f"vendor:{provider}"
    place = msgspec.json.encode([file, line.day, line.key, line.model])
    return {
        "tenant_id": posting.tenant_id,
        "adjustment_id": f"adj_{hashlib.sha256(place).hexdigest()[:32]}",
        "day": line.day,
        "provider": provider,
        "vendor_key": line.key,
        "model": line.model,
        "source": vendor if posting.amount > 0 else "cost",
        "sink": "cost" if posting.amount > 0 else vendor,
        "amount": abs(posting.amount),
        "causes": list(line.causes),
        "booked_by": by,
    }


def share_out(amount: NanoUSD, costs: Mapping[str, int], otherwise: str) -> dict[str, NanoUSD]:
    """Split an amount among tenants by what their calls cost, to the nano-dollar: what rounding leaves goes to those
    who are owed the largest rest. Where no calls cost anything, all of it is ``otherwise``'s.

    >>> share_out(NanoUSD(10), {"a": 1, "b": 1, "c": 1}, "z")
    {'a': 4, 'b': 3, 'c': 3}
    """
    whole = sum(cost for cost in costs.values() if cost > 0)
    if not whole:
        return {otherwise: amount}
    sign, size = (-1, -amount) if amount < 0 else (1, amount)
    shares = {tenant: divmod(size * cost, whole) for tenant, cost in costs.items() if cost > 0}
    left = size - sum(share for share, _ in shares.values())
    dearest = sorted(shares, key=lambda tenant: (-shares[tenant][1], tenant))[:left]
    split = {tenant: NanoUSD(sign * (share + (tenant in dearest))) for tenant, (share, _) in shares.items()}
    return {tenant: share for tenant, share in split.items() if share}
