"""Owns the page of one trace: what happened in this call?"""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from starlette.responses import PlainTextResponse, Response

from backstay.console.attempts import STAND_INS, cut, notes, seams
from backstay.console.messages import answered, asked, find_picture, indented
from backstay.console.names import key_names
from backstay.console.plots import Stage, stage
from backstay.console.render import href
from backstay.console.traces import FIELDS, read_filter
from backstay.console.visit import Visit
from backstay.core.errors import NotFound
from backstay.tracing import CallReading, StoredSpan

_WIRES = {
    ("chat", "openai"): "/v1/chat/completions",
    ("embeddings", "openai"): "/v1/embeddings",
    ("rerank", "openai"): "/v1/rerank",
    ("chat", "responses"): "/v1/responses",
    ("chat", "anthropic"): "/v1/messages",
    ("count_tokens", "anthropic"): "/v1/messages/count_tokens",
}

_RAW_SHOWN = 6_000
"""Characters of raw JSON that the page itself holds."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A span in the timeline."""

    span: StoredSpan
    depth: int
    place: Stage
    href: str | None
    """Leads to another call of the same trace."""


async def show(visit: Visit) -> Response:
    """Show one call of a trace: figures, timeline, what was said, what it cost."""
    trace_id, spans, call = await _find(visit)
    reading = visit.deps.read_trace(call)
    query = {name: visit.query.get(name, "") for name in (*FIELDS, "range")}
    beside = await visit.deps.traces.neighbours(visit.tenant_id, call, read_filter(visit.query, None))
    entries = await visit.deps.ledger.entries(visit.tenant_id, trace_id)
    whole = visit.query.get("whole") == "1"
    attempts = [span for span in spans if span.parent_id == call.span_id and span.kind == "attempt"]
    return visit.page(
        "trace.html",
        trace_id=trace_id,
        call=call,
        attempts=attempts,
        notes_of=notes,
        seams=seams(attempts),
        cut=cut,
        stand_in=STAND_INS.get(str(call.attributes.get("backstay.degraded", ""))),
        rows=_timeline(spans, call, query),
        asked=asked(reading.request, whole=whole) if reading.request else [],
        answered=answered(reading.response) if reading.response else [],
        notes=_notes(call, reading),
        parameters=_parameters(reading.parameters),
        tools=reading.request.tools if reading.request else (),
        entries=[entry for entry in entries if entry.call_id == call.span_id],
        key_name=(await key_names(visit)).get(call.key_id or ""),
        raw=[_raw(side, text) for side, text in (("input", call.input), ("output", call.output)) if text],
        newer=_beside(beside.newer, query),
        older=_beside(beside.older, query),
        suffix=href("", {"call": call.span_id}),
        back=href("/traces", query),
    )


async def curl(visit: Visit) -> Response:
    """Give a call's request as a line for the shell, without a key."""
    _, _, call = await _find(visit)
    path = _WIRES.get((call.operation or "", call.input_dialect or ""))
    if path is None or call.input is None:
        raise NotFound("Nothing was kept of this call's request, so it cannot be sent again.")
    return PlainTextResponse(curl_text(visit.base_url + path, call.input, call.input_dialect or ""))


def curl_text(url: str, body: str, dialect: str) -> str:
    """Write a request as curl; the key is taken from ``BACKSTAY_KEY``."""
    key = (
        '-H "x-api-key: $BACKSTAY_KEY" -H "anthropic-version: 2023-06-01"'
        if dialect == "anthropic"
        else '-H "authorization: Bearer $BACKSTAY_KEY"'
    )
    return (
        f'curl {shlex.quote(url)} \\\n  {key} \\\n  -H "content-type: application/json" \\\n  -d {shlex.quote(body)}\n'
    )


async def raw(visit: Visit) -> Response:
    """Give a call's request or answer as it went over the wire, whole."""
    _, _, call = await _find(visit)
    text = call.output if visit.query.get("side") == "output" else call.input
    if text is None:
        raise NotFound("Nothing was kept of this.")
    return PlainTextResponse(text, headers={"cache-control": "private, no-cache"})


async def image(visit: Visit) -> Response:
    """Give an inline picture of a call's request."""
    _, _, call = await _find(visit)
    request = visit.deps.read_trace(call).request
    picture = find_picture(request, visit.query.get("place", "")) if request else None
    if picture is None:
        raise NotFound("There is no such picture.")
    headers = {"content-security-policy": "default-src 'none'; sandbox", "cache-control": "private, max-age=3600"}
    return Response(picture[1], media_type=picture[0], headers=headers)


async def _find(visit: Visit) -> tuple[str, Sequence[StoredSpan], StoredSpan]:
    """Find a trace, and the call of it that is asked for: the one named, else the first."""
    trace = await visit.deps.traces.get_trace(visit.tenant_id, visit.request.path_params["trace_id"])
    calls = [span for span in trace.spans if span.kind == "call"]
    wanted = visit.query.get("call")
    call = next((span for span in calls if wanted in (None, "", span.span_id)), None)
    if call is None:
        raise NotFound("This trace has no such call.")
    return trace.trace_id, trace.spans, call


def _timeline(spans: Sequence[StoredSpan], chosen: StoredSpan, query: Mapping[str, str]) -> list[Row]:
    """Order spans as a tree, children under their parents; a parent that is not ours makes a root."""
    started = min(span.started_at_ns for span in spans)
    ended = max(span.started_at_ns + span.duration_ns for span in spans)
    known = {span.span_id for span in spans}
    rows: list[Row] = []

    def add(parent: str | None, depth: int) -> None:
        for span in spans:
            if (span.parent_id if span.parent_id in known else None) != parent or depth > len(spans):
                continue
            place = stage(span.started_at_ns, span.duration_ns, whole_started_ns=started, whole_ns=ended - started)
            is_other = span.kind == "call" and span.span_id != chosen.span_id
            there = href(f"/traces/{span.trace_id}", query, call=span.span_id) if is_other else None
            rows.append(Row(span=span, depth=min(depth, 6), place=place, href=there))
            add(span.span_id, depth + 1)

    add(None, 0)
    return rows


def _notes(call: StoredSpan, reading: CallReading) -> list[str]:
    """Say once why something is not shown as messages. A failed call without an answer has said why already."""
    notes = [reading.request_note if reading.request is None else None]
    if reading.response is None and not (call.output is None and call.status != "ok"):
        notes.append(reading.response_note)
    return [note for note in dict.fromkeys(notes) if note]


def _parameters(parameters: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Write what the caller set, but for what the figures above say anyhow."""
    return [
        (name.replace("_", " "), _written(value))
        for name, value in parameters.items()
        if name not in ("stream", "stream_usage", "user")
    ]


def _written(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _raw(side: str, text: str) -> dict[str, Any]:
    formatted = indented(text)
    return {
        "side": side,
        "title": "Request, as it came" if side == "input" else "Answer, as it went",
        "text": formatted[:_RAW_SHOWN],
        "left_out": max(0, len(formatted) - _RAW_SHOWN),
    }


def _beside(span: Any, query: Mapping[str, str]) -> str | None:
    if span is None:
        return None
    return href(f"/traces/{span.trace_id}", {**query, "call": span.span_id if span.parent_id else ""})
