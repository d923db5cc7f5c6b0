"""Owns realistic books for the console's tests: a month of calls with their spans, texts and costs."""

import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from backstay.core.money import NanoUSD
from backstay.ledger import MERGE_ENTRIES, CostLine, LedgerEntry
from backstay.store import Database
from backstay.tracing import MERGE_SPANS, Span, SpanStatus

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
HOSTILE = '<script>alert("model")</script><img src=x onerror=alert(1)>'
MILLISECOND = 1_000_000

# Model, its targets, its operation, and what a million tokens of input and output cost in USD; None: nobody knows.
MODELS: tuple[tuple[str, Sequence[str], str, tuple[str, str] | None], ...] = (
    ("gpt-4o-mini", ("openai/gpt-4o-mini", "azure/gpt-4o-mini"), "chat", ("0.15", "0.6")),
    ("claude-sonnet", ("anthropic/claude-sonnet-4-5",), "chat", ("3", "15")),
    ("gpt-4o", ("openai/gpt-4o",), "chat", ("2.5", "10")),
    ("embeddings", ("openai/text-embedding-3-small",), "embeddings", ("0.02", "0")),
    ("local", ("local/smollm2",), "chat", ("0", "0")),
    ("house-llm", ("acme/house-llm-7b",), "chat", None),
)
FEATURES = ("support-answer", "contract-summary", "search-rewrite", "invoice-agent", "product-copy", None)
USUAL = {
    "support-answer": 0,
    "contract-summary": 1,
    "search-rewrite": 4,
    "invoice-agent": 1,
    "product-copy": 2,
    None: 5,
}

QUESTION = "Hi, how long do I have to send shoes back? They arrived last week and do not fit."
ANSWER = "You can return shoes within 30 days of delivery. Refunds are paid to the card that you used."


class Call(msgspec.Struct, kw_only=True):
    """One call with all that it leaves."""

    spans: list[Span]
    entries: list[LedgerEntry]
    input: str
    output: str


def make_call(rng: random.Random, at: datetime, key_id: str, **fields: Any) -> Call:
    """Make one call that begins ``at``; ``fields`` override those of its root span."""
    is_usual = "feature" in fields or rng.random() < 0.86
    feature = fields.pop("feature", rng.choices(FEATURES, (41, 6, 30, 8, 10, 5))[0])
    model, targets, operation, prices = MODELS[USUAL.get(feature, 0) if is_usual else 3]
    trace_id, call_id = f"{rng.getrandbits(128):032x}", f"{rng.getrandbits(64):016x}"
    status: SpanStatus = fields.pop("status", "ok" if rng.random() > 0.006 else "error")
    falls_back = len(targets) > 1 and rng.random() < 0.03
    tokens = (rng.randint(300, 2600), rng.randint(20, 400) if operation == "chat" else 0)
    first_ns = int(rng.lognormvariate(5.6, 0.4) * MILLISECOND)
    tried: list[tuple[str, int, SpanStatus]] = [(targets[0], 900 * MILLISECOND, "error")] if falls_back else []
    length_ns = first_ns + tokens[1] * rng.randint(4, 9) * MILLISECOND
    tried.append((targets[1] if falls_back else targets[0], length_ns, status))
    started_ns = int(at.timestamp() * 1_000_000) * 1_000
    cost = None if prices is None else sum(int(float(p) * 1000) * n for p, n in zip(prices, tokens, strict=True))
    billed, lost = status == "ok", status == "interrupted"
    root = Span(
        span_id=call_id,
        trace_id=trace_id,
        kind="call",
        name=f"{operation} {model}",
        started_at_ns=started_ns,
        duration_ns=sum(duration for _, duration, _ in tried) + 12 * MILLISECOND,
        status=status,
        error_code="provider_error" if status == "error" else None,
        error_message="Rate limit reached for requests per minute. Try again in 20 s." if status == "error" else None,
        operation=operation,
        model=model,
        target=tried[-1][0],
        key_id=key_id,
        user_id=f"u-{rng.randint(1000, 1060)}",
        feature=feature,
        tags=("team:care",) if feature == "support-answer" else (),
        http_status=200 if status == "ok" else 429,
        stream=rng.random() < 0.5,
        first_token_ns=first_ns if billed and operation == "chat" else None,
        input_tokens=tokens[0] if billed else None,
        output_tokens=tokens[1] if billed else None,
        cost_nanousd=None if lost or (billed and cost is None) else NanoUSD(cost or 0) if billed else NanoUSD(0),
        attributes={"gen_ai.operation.name": operation, "gen_ai.request.model": model},
        input_dialect="openai",
        output_dialect="openai" if billed else None,
    )
    root = msgspec.structs.replace(root, **fields)
    entries = [_entry(root, len(tried) - 1, prices, tokens)] if billed or lost else []
    return Call(
        spans=[root, *_attempts(rng, root, tried)],
        entries=entries,
        input=chat_request(model, feature) if operation == "chat" else json.dumps({"model": model, "input": QUESTION}),
        output=chat_answer(model, tokens) if billed and operation == "chat" else "",
    )


def _attempts(rng: random.Random, root: Span, tried: Sequence[tuple[str, int, SpanStatus]]) -> list[Span]:
    spans: list[Span] = []
    offset_ns = 6 * MILLISECOND
    for number, (target, duration_ns, status) in enumerate(tried):
        failed = status == "error"
        spans.append(
            Span(
                span_id=f"{rng.getrandbits(64):016x}",
                trace_id=root.trace_id,
                parent_id=root.span_id,
                kind="attempt",
                name=f"chat {target.partition('/')[2]}",
                started_at_ns=root.started_at_ns + offset_ns,
                duration_ns=duration_ns,
                status=status,
                error_code="provider_error" if failed else None,
                error_message="Rate limit reached for requests per minute." if failed else None,
                operation=root.operation,
                target=target,
                http_status=429 if failed else 200,
                cost_nanousd=root.cost_nanousd if not failed else None,
                attributes={
                    "gen_ai.provider.name": target.partition("/")[0],
                    "gen_ai.request.model": target.partition("/")[2],
                    "gen_ai.response.finish_reasons": ["stop"],
                    "backstay.attempt": number,
                },
            )
        )
        offset_ns += duration_ns
    return spans


def _entry(root: Span, attempt: int, prices: tuple[str, str] | None, tokens: tuple[int, int]) -> LedgerEntry:
    lines = tuple(
        CostLine(unit=unit, quantity=n, usd_per_million=price, amount_nanousd=NanoUSD(int(float(price) * 1000) * n))
        for unit, price, n in zip(("input_mtok", "output_mtok"), prices or (), tokens, strict=False)
    )
    return LedgerEntry(
        call_id=root.span_id,
        attempt=attempt,
        at_ns=root.started_at_ns,
        trace_id=root.trace_id,
        key_id=root.key_id,
        user_id=root.user_id,
        feature=root.feature,
        tags=root.tags,
        model=root.model or "",
        target=root.target or "",
        input_tokens=root.input_tokens,
        output_tokens=root.output_tokens,
        cost_nanousd=root.cost_nanousd,
        unconfirmed=root.status == "interrupted",
        price_source=f"genai-prices 0.2.3 {root.target}" if prices else None,
        lines=lines if root.cost_nanousd is not None else (),
        unused="hedge" if int(root.span_id, 16) % 40 == 0 else None,
    )


def chat_request(model: str, feature: str | None = None) -> str:
    """Write a request in OpenAI's dialect."""
    passage = "[1] Standard delivery takes 3–5 working days."
    system = f"You answer questions about orders at Northwind. Use only the passages.\n\n{passage}"
    body: dict[str, Any] = {
        "model": model,
        "temperature": 0.2,
        "max_completion_tokens": 400,
        "messages": [{"role": "system", "content": system}, {"role": "user", "content": QUESTION}],
    }
    if feature == "invoice-agent":
        body["tools"] = [{"type": "function", "function": {"name": "find_order", "parameters": {"type": "object"}}}]
    return json.dumps(body, ensure_ascii=False)


def hostile_request() -> str:
    """Write a request whose every text is an attack on a page, with a picture and tools."""
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    call = {"id": "call_1", "type": "function", "function": {"name": HOSTILE, "arguments": json.dumps({"q": HOSTILE})}}
    return json.dumps(
        {
            "model": "gpt-4o-mini",
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": HOSTILE}, picture]},
                {"role": "assistant", "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "call_1", "content": HOSTILE},
            ],
        }
    )


def chat_answer(model: str, tokens: tuple[int, int], text: str = ANSWER) -> str:
    """Write an answer in OpenAI's dialect."""
    return json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1_780_000_000,
            "model": model,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)},
        }
    )


def make_month(now: datetime, key_ids: Sequence[str]) -> list[Call]:
    """Make 900 calls of the last day, most at one time of it, and 300 of the four weeks before; always the same."""
    rng = random.Random(7)
    calls = [
        make_call(rng, now - timedelta(seconds=rng.triangular(40, 86_000, 30_000)), rng.choice(key_ids))
        for _ in range(900)
    ]
    calls += [
        make_call(rng, now - timedelta(days=1, seconds=rng.uniform(0, 27 * 86_400)), key_ids[0]) for _ in range(300)
    ]
    calls.append(
        make_call(rng, now - timedelta(seconds=30), key_ids[0], feature="support-answer", status="interrupted")
    )
    return calls


async def ship(database: Database, tenant_id: str, calls: Sequence[Call]) -> None:
    """Write calls into the books by the very statements that the shipper runs."""
    days = {datetime.fromtimestamp(call.spans[0].started_at_ns / 1e9, UTC).date() for call in calls}
    rows = [
        (
            call.spans[0].span_id,
            msgspec.json.encode({"tenant_id": tenant_id, "spans": call.spans, "entries": call.entries}).decode(),
            call.input,
            call.output,
        )
        for call in calls
    ]
    async with database.system(timeout_s=60) as connection, connection.cursor() as cursor:
        await cursor.execute(
            "create temp table shipment (entry_id text, doc jsonb, input text, output text) on commit drop"
        )
        for day in days:
            await cursor.execute("select ensure_partitions(%s), ensure_partitions(%s)", (day, day + timedelta(days=1)))
        async with cursor.copy("copy shipment from stdin") as copy:
            for row in rows:
                await copy.write_row(row)
        for merge in (MERGE_SPANS, MERGE_ENTRIES):
            await cursor.execute(merge)
