"""Owns what one call may spend: its worst case is reserved of its budgets before a target is asked."""

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from backstay.budgets import Charge, Escrow, Purse, Share, Shortage, Subject
from backstay.core.errors import BackstayError, BudgetExhausted, BudgetUnavailable, PriceUnknown, SpendingStopped
from backstay.core.money import NanoUSD, usd
from backstay.gateway.recording import Attempt, Recording
from backstay.gateway.settle import may_be_billed
from backstay.gateway.types import Target
from backstay.ledger import PriceBook
from backstay.providers.counting import (
    asked_tier,
    most_input_tokens,
    most_output_tokens,
    most_price_percent,
    most_tool_rounds,
    ruled_out,
)
from backstay.providers.exact_counting import count_input_tokens
from backstay.providers.model_limits import known_context, known_output_limit
from backstay.providers.rerank_wire import most_rerank_tokens, most_search_units, read_rerank_request

_LONGEST_OUTPUT_TOKENS = 400_000
"""Longest answer of a model of which nothing is known: more than any listed one's, DeepSeek's 384K (2026-11)."""


_CUT_ELSEWHERE = frozenset({"n", "prediction", "context_management"})
"""Fields beside which one number does not limit what is written."""


class Hold(msgspec.Struct, kw_only=True):
    """What is reserved for one attempt."""

    shares: Sequence[Share]
    amount: int
    output_limit: int | None = None
    """What its output is limited to, so that it fits; ``None``: as the caller asked."""
    attempt: Attempt | None = None


class Spending:
    """The money of one call. Budgets without a hard limit reserve nothing; they are charged and mark the call."""

    def __init__(
        self,
        escrow: Escrow | None,
        purses: Sequence[Purse],
        prices: PriceBook,
        recording: Recording,
        write_intent: Callable[[], None],
    ):
        self.holds: list[Hold] = []
        self._escrow = escrow
        self._purses = purses
        self._prices = prices
        self._recording = recording
        self._write_intent = write_intent
        self._cap = recording.incoming.max_cost_nanousd
        hard = [purse.terms for purse in purses if purse.terms.hard]
        self._is_bound = self._cap is not None or bool(hard)
        self._takes_unknown = bool(hard) and all(terms.on_unknown_price == "bound" for terms in hard)

    @property
    def is_over(self) -> bool:
        """Whether a budget that only marks is used up."""
        return self._escrow is not None and self._escrow.is_over(self._purses)

    async def reserve(self, target: Target, *, more_bytes: int, for_s: float, beside: bool = False) -> Hold:
        """Reserve the worst case of one attempt, and write it into the journal.

        Args:
            target: Who is to be asked.
            more_bytes: What is sent beyond the caller's request: the beginning of an answer that is gone on with.
            for_s: How long the call can wait at most.
            beside: Whether another attempt is under way, which may do without this one: it must fit as it is, at once.

        Raises:
            BudgetExhausted: It does not fit.
            BudgetUnavailable: Nobody knows whether it fits.
            JournalFull: The reservation cannot be written down.
        """
        self._release_unbilled()
        bound = _Bound(self._prices, self._recording, target, more_bytes, takes_unknown=self._takes_unknown)
        amount = bound.price(bound.output_tokens)
        if amount is None:
            if self._is_bound:
                raise _unpriced(target, takes_unknown=self._takes_unknown)
            amount = 0
        hold = self._fit_beside(amount) if beside else await self._fit(bound, amount, for_s)
        self.holds.append(hold)
        try:
            self._write_intent()
        except BackstayError:
            self._end(self.holds.pop(), 0)
            raise
        return hold

    def settle(self) -> tuple[Charge, ...]:
        """End all that is reserved, by what each attempt cost, and say what each budget is charged.

        A cost that nobody knows is taken to be the worst.
        """
        charges: dict[tuple[str, str, int | None], Charge] = {}
        holds, self.holds = self.holds, []
        for hold in holds:
            for charge in self._end(hold, self._cost_of(hold)):
                key = (charge.budget_id, charge.subject, charge.starts_us)
                charges[key] = _sum(charges[key], charge) if key in charges else charge
        return tuple(charges.values())

    def _cost_of(self, hold: Hold) -> int:
        attempt = hold.attempt
        if attempt is None or attempt.cost is None:
            return 0
        if attempt.cost.amount_nanousd is not None:
            return attempt.cost.amount_nanousd
        used = attempt.usage
        if not self._takes_unknown or used.input_tokens is None or used.output_tokens is None:
            return hold.amount
        taken = self._prices.most_unknown(
            input_tokens=used.input_tokens, output_tokens=used.output_tokens, web_searches=used.web_searches
        )
        return hold.amount if taken is None else taken

    def pledges(self) -> tuple[Charge, ...]:
        """What each budget is charged should this worker die now: the worst case."""
        at_us = self._recording.at_ns // 1000
        return tuple(
            share.charge(at_us, covered=share.amount, uncovered=0 if share.purse.terms.hard else amount)
            for share, amount in _by_window(self.holds)
        )

    @property
    def worst(self) -> NanoUSD:
        """The most that everything that is under way can cost."""
        return NanoUSD(sum(hold.amount for hold in self.holds))

    def _fit_beside(self, amount: int) -> Hold:
        """Reserve the worst case where it fits: a shorter answer might win over the whole one that is under way."""
        shares: Sequence[Share] | None = ()
        if self._cap is not None and amount > self._cap - self.worst:
            shares = None
        elif self._escrow is not None and self._purses:
            shares = self._escrow.take(self._purses, amount)
        if shares is None:
            raise BudgetExhausted("What is left does not cover a second attempt beside the first.")
        return Hold(shares=shares, amount=amount)

    async def _fit(self, bound: "_Bound", amount: int, for_s: float) -> Hold:
        """Reserve the worst case; or, where it does not fit and a budget says so, a shorter answer's."""
        limit: int | None = None
        if self._cap is not None and amount > (left := self._cap - self.worst):
            limit = bound.longest(left)
            if limit is None or limit < 1:
                raise BudgetExhausted(
                    f"This call may cost up to ${usd(NanoUSD(amount))}, and x-backstay-max-cost leaves "
                    f"${usd(NanoUSD(max(0, left)))}. Ask for less output, or allow more."
                )
            amount = bound.price(limit) or 0
        if self._escrow is None or not self._purses:
            return Hold(shares=(), amount=amount, output_limit=limit)
        shares = self._escrow.take(self._purses, amount)
        if shares is None:
            await bound.count()
            amount = (bound.price(bound.output_tokens) if limit is None else bound.price(limit)) or 0
            shares = await self._escrow.wait_for(self._purses, amount, self._patience_s(for_s))
        if isinstance(shares, Shortage):
            return await self._clamp(self._escrow, bound, amount, shares, for_s)
        return Hold(shares=shares, amount=amount, output_limit=limit)

    async def _clamp(self, escrow: Escrow, bound: "_Bound", amount: int, shortage: Shortage, for_s: float) -> Hold:
        """Limit the output to what the budgets can cover, waiting until that is of use; or refuse the call."""
        terms = shortage.terms
        least = min(terms.min_output_tokens, bound.output_tokens)
        price = bound.price(least) or 0
        if terms.on_low == "clamp" and bound.can_be_shorter and (not shortage.unheard or shortage.left >= price):
            found = await escrow.wait_for(self._purses, price, self._patience_s(for_s))
            if not isinstance(found, Shortage):
                return self._widen(escrow, bound, found, least)
            shortage = found
        escrow.refused += 1
        raise _refusal(shortage, amount)

    def _widen(self, escrow: Escrow, bound: "_Bound", found: Sequence[Share], least: int) -> Hold:
        """Let an answer be as long as what is at hand covers, shared with the calls that wait for it, too."""
        at_hand = escrow.share_at_hand(self._purses)
        limit = bound.longest((bound.price(least) or 0) + at_hand)
        if limit is not None and limit > least:
            amount = bound.price(limit) or 0
            escrow.settle(found, 0, self._recording.at_ns)
            wider = escrow.take(self._purses, amount)
            if wider is None:
                raise BudgetUnavailable("The budget's window ended this moment. Try again.")
            return Hold(shares=wider, amount=amount, output_limit=limit if limit < bound.output_tokens else None)
        return Hold(shares=found, amount=bound.price(least) or 0, output_limit=least)

    def _patience_s(self, for_s: float) -> float:
        hard = [purse.terms for purse in self._purses if purse.terms.hard]
        if any(terms.on_low == "queue" for terms in hard):
            return for_s
        return min(for_s, max((terms.wait_s for terms in hard), default=0.0))

    def _release_unbilled(self) -> None:
        """Give back what was reserved for attempts that turned out to cost nothing."""
        for hold in list(self.holds):
            attempt = hold.attempt
            if attempt is not None and attempt.ended_ns and not may_be_billed(attempt):
                self._end(hold, 0)
                self.holds.remove(hold)

    def _end(self, hold: Hold, cost: int) -> Sequence[Charge]:
        if self._escrow is None:
            return ()
        return self._escrow.settle(hold.shares, cost, self._recording.at_ns)


class _Bound:
    """The most that one attempt can cost, by how long its answer may be."""

    def __init__(
        self, prices: PriceBook, recording: Recording, target: Target, more_bytes: int, *, takes_unknown: bool
    ):
        incoming, request = recording.incoming, recording.request
        assert request is not None
        fields, provider, model = request.fields, target.price_provider, target.price_model
        self._prices = prices
        self._target = target
        self._request = request
        self._dialect = incoming.dialect.name
        self._more_bytes = more_bytes
        self._takes_unknown = takes_unknown
        self._is_counted = incoming.operation != "chat"
        self._at_ns = recording.at_ns
        context = target.can.context_tokens or known_context(provider, model)
        self._input_tokens = more_bytes + most_input_tokens(
            fields, incoming.dialect.name, provider, model, context_tokens=context
        )
        self._tier = asked_tier(fields)
        self._searches = most_tool_rounds(fields)
        self._percent = most_price_percent(fields, provider, model, target.default_geo)
        self._without = ruled_out(fields)
        if incoming.operation == "rerank":
            asked = read_rerank_request(fields)
            self._input_tokens = max(self._input_tokens, most_rerank_tokens(asked))
            self._searches = most_search_units(asked)
        self.output_tokens = 0
        self.can_be_shorter = incoming.operation == "chat" and not _CUT_ELSEWHERE & fields.keys()
        """Whether one number limits its output. Several candidates, or a prediction, would be cut at other places."""
        if incoming.operation == "chat":
            longest = target.can.output_tokens or known_output_limit(provider, model)
            longest = longest or context or _LONGEST_OUTPUT_TOKENS
            self.output_tokens = most_output_tokens(fields, longest) or 0

    async def count(self) -> None:
        """Count the input exactly, where its tokenizer is known: money is short, so that it pays."""
        target, request = self._target, self._request
        if self._is_counted:
            return
        self._is_counted = True
        exact = await asyncio.to_thread(
            count_input_tokens, request.fields, self._dialect, target.price_provider, target.price_model
        )
        if exact is not None:
            self._input_tokens = min(self._input_tokens, self._more_bytes + exact)

    def price(self, output_tokens: int) -> NanoUSD | None:
        """The most that it costs with so long an answer; ``None``: nobody knows."""
        target = self._target
        most = self._prices.most(
            provider=target.price_provider,
            model_id=target.price_model,
            at_ns=self._at_ns,
            input_tokens=self._input_tokens,
            output_tokens=output_tokens,
            web_searches=self._searches,
            without=self._without,
            service_tier=self._tier,
            default_tier=target.default_tier,
            price_percent=self._percent,
            target=target.name,
            is_free=target.is_free,
            duration_ms=round(target.timeouts.total_s * 1000),
        )
        if most is None and self._takes_unknown:
            return self._prices.most_unknown(
                input_tokens=self._input_tokens, output_tokens=output_tokens, web_searches=self._searches
            )
        return most

    def longest(self, amount: int) -> int | None:
        """The longest answer that an amount covers, shorter than what was asked for; ``None``: not even none."""
        low, high = 0, self.output_tokens
        if not self.can_be_shorter or (least := self.price(0)) is None or least > amount:
            return None
        while low < high:
            middle = (low + high + 1) // 2
            if (self.price(middle) or 0) <= amount:
                low = middle
            else:
                high = middle - 1
        return low


def begin_spending(
    escrow: Escrow | None, prices: PriceBook, recording: Recording, write_intent: Callable[[], None]
) -> Spending | None:
    """Find the budgets of a call; ``None`` where nothing bounds or counts it.

    Raises:
        SpendingStopped: Somebody has stopped the spending of one of them.
        BudgetUnavailable: They are not known yet.
    """
    incoming, request = recording.incoming, recording.request
    assert request is not None
    if incoming.operation == "count_tokens":
        return None  # no provider bills it
    purses: Sequence[Purse] = ()
    if escrow is not None:
        caller = incoming.caller
        if caller.kind == "key" and not escrow.is_loaded:
            raise BudgetUnavailable()  # its key was read meanwhile, and so will be its budgets
        purses = escrow.purses(
            Subject(
                tenant_id=caller.tenant_id,
                key=caller.id,
                user=request.user,
                feature=incoming.feature,
                model=request.model.name,
                tags=incoming.tags,
            )
        )
        for purse in purses:
            if purse.terms.stopped:
                escrow.refused += 1
                raise SpendingStopped(f"Spending of the {purse.terms.describe(purse.subject)} was stopped.")
    if not purses and incoming.max_cost_nanousd is None:
        return None
    return Spending(escrow, purses, prices, recording, write_intent)


def _unpriced(target: Target, *, takes_unknown: bool) -> PriceUnknown:
    other = "let the budget go by [unknown_price]"
    if takes_unknown:
        other = "complete [unknown_price], which the budget goes by and which does not price all of this call"
    return PriceUnknown(
        f"The price of {target.name} is not known, and a hard budget counts this call. Give it one in "
        f'[prices."{target.name}"], or {other}.'
    )


def _refusal(shortage: Shortage, amount: int) -> BackstayError:
    whose = f"the {shortage.terms.describe(shortage.subject)}'s budget"
    if shortage.unheard:
        message = f"What is left of {whose} is not known, as Postgres does not answer."
        return BudgetUnavailable(message, retry_after_s=1.0)
    error = BudgetExhausted(
        f"This call may cost up to ${usd(NanoUSD(amount))}, and ${usd(NanoUSD(shortage.left))} of {whose} of "
        f"${usd(shortage.terms.limit)} per {shortage.terms.span} is left."
    )
    error.is_elsewhere_cheaper = shortage.terms.on_low == "downgrade"
    return error


def _by_window(holds: Sequence[Hold]) -> list[tuple[Share, int]]:
    """Add up the shares of each budget and window."""
    sums: dict[tuple[str, str, int | None], tuple[Share, int]] = {}
    for hold in holds:
        for share in hold.shares:
            key = share.window
            if key in sums:
                earlier, amount = sums[key]
                share, total = Share(share.purse, share.lease, share.amount + earlier.amount), amount + hold.amount
            else:
                total = hold.amount
            sums[key] = (share, total)
    return list(sums.values())


def _sum(one: Charge, other: Charge) -> Charge:
    return msgspec.structs.replace(one, covered=one.covered + other.covered, uncovered=one.uncovered + other.uncovered)
