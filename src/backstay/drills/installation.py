"""Owns the installation that is drilled: what is asked of it over HTTP, and what is known of its books."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp
import msgspec

from backstay.core.errors import BackstayError
from backstay.core.money import NanoUSD, from_usd, usd

BOOKS_S = 20.0
"""How long is waited for the last calls to reach the ledger."""
_QUIET_S = 5.0
"""When nothing has come into the books for so long, nothing more will: records take a second at most."""
_REQUEST_S = 10.0
_SINCE = "2h"


class Booked(msgspec.Struct, frozen=True, kw_only=True):
    """What the ledger says of some calls."""

    calls: int = 0
    cost_nanousd: NanoUSD = NanoUSD(0)


class Installation:
    """A server, spoken to as its operator; ``model`` is what is called."""

    def __init__(self, session: aiohttp.ClientSession, url: str, headers: Mapping[str, str], *, model: str):
        self.url = url
        self.model = model
        self._session = session
        self._headers = dict(headers)

    async def make_key(self, name: str) -> str:
        """Make the key that the callers have."""
        return (await self._ask("POST", "/v1/keys", {"name": name}))["key"]

    async def make_budget(self, limit: NanoUSD) -> str:
        """Limit what all its callers spend, once and for all; calls whose worst case does not fit are refused.

        Returns:
            The budget's id. Every worker follows within a second.
        """
        budget = {"limit_usd": usd(limit), "window": "lifetime", "on_low_budget": "refuse"}
        return (await self._ask("POST", "/v1/budgets", budget))["id"]

    async def budget(self, budget_id: str) -> tuple[NanoUSD, NanoUSD]:
        """Read what is spent of a budget, and what workers hold of it."""
        budgets = (await self._ask("GET", "/v1/budgets"))["budgets"]
        found = next(each for each in budgets if each["id"] == budget_id)
        return from_usd(found["spent_usd"]), from_usd(found["reserved_usd"])

    async def differing_accounts(self) -> int:
        """Count what does not balance in the books."""
        proof = await self._ask("GET", "/v1/books")
        return proof["budgets"]["differing"] + proof["differing_calls"] + proof["differing_rollups"]

    async def revoke_keys(self, name: str) -> None:
        """Revoke the keys of this name."""
        for key in (await self._ask("GET", "/v1/keys"))["keys"]:
            if key["name"] == name and key["status"] == "live":
                await self._ask("POST", f"/v1/keys/{key['id']}/revoke", {})

    async def targets(self) -> list[str]:
        """List the targets of the model, the best first. Empty where there is no such model."""
        models = (await self._ask("GET", "/v1/catalog"))["models"]
        return [target["name"] for each in models if each["name"] == self.model for target in each["targets"]]

    async def booked(self, features: Sequence[str], calls: int) -> dict[str, Booked]:
        """Read what calls under each feature cost, once there are so many, or when no more come."""
        give_up = time.monotonic() + BOOKS_S
        before, quiet_since = -1, 0.0
        while True:
            report = await self._ask("GET", f"/v1/costs?by=feature&since={_SINCE}")
            found = {row["feature"]: row for row in report["rows"] if row["feature"] in features}
            now, there = time.monotonic(), sum(row["calls"] for row in found.values())
            if there != before:
                before, quiet_since = there, now
            if there >= calls or now > min(give_up, quiet_since + _QUIET_S):
                return {
                    name: Booked(calls=row["calls"], cost_nanousd=from_usd(row["cost_usd"]))
                    for name, row in found.items()
                }
            await asyncio.sleep(0.3)

    async def _ask(self, method: str, path: str, body: Any = None) -> Any:
        try:
            async with (
                asyncio.timeout(_REQUEST_S),
                self._session.request(method, self.url + path, json=body, headers=self._headers) as answer,
            ):
                found = await answer.json(content_type=None)
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
            raise BackstayError(
                f"{self.url} did not answer {method} {path}: {error or 'no answer in time'}."
            ) from error
        if answer.status >= 400:
            raise BackstayError(f"{self.url} refused {method} {path}: {found.get('detail') or answer.status}")
        return found
