"""Owns drawing a trace in a terminal: its spans as a tree, each with its bar on one time axis. Pure."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from backstay.cli.output import count, duration, money, printable

Span = dict[str, Any]

_MADE = {
    "fallback": "fallback",
    "retry": "retry",
    "continue": "goes on with a broken stream",
    "restart": "answers anew after a broken stream",
    "degraded": "stands in",
}
"""Why an attempt was made, where it is not the first."""

_EIGHTHS = " ▏▎▍▌▋▊▉█"


class Row(NamedTuple):
    """One span of a drawn tree."""

    name: str
    status: str
    took: str
    bar: str
    note: str


def rows(spans: list[Span], width: int) -> list[Row]:
    """Draw the spans of one trace, ``children`` nested, with bars of ``width`` cells."""
    flat = list(_walk(spans, "", top=True))
    begin = min((_start_s(span) for _, span in flat), default=0.0)
    end = max((_start_s(span) + _length_s(span) for _, span in flat), default=0.0)
    scale = width / (end - begin) if end > begin else 0.0
    return [
        Row(
            name=branch + printable(span["name"]),
            status=span["status"],
            took=duration(span["duration_ms"]),
            bar=bar((_start_s(span) - begin) * scale, _length_s(span) * scale, width),
            note=_note(span),
        )
        for branch, span in flat
    ]


def bar(offset: float, length: float, width: int) -> str:
    """Draw a bar that begins at ``offset`` cells and is ``length`` long, in eighths of a cell; never invisible."""
    first = min(int(offset), width - 1)
    eighths = max(1, min(round(length * 8), (width - first) * 8))
    full, rest = divmod(eighths, 8)
    return (" " * first + "█" * full + (_EIGHTHS[rest] if rest else "")).ljust(width)


def conversation(span: Span) -> list[tuple[str, str]]:
    """Read what was said in a call as (role, text): its messages and its answer; what is no text is named."""
    asked: dict[str, Any] = span.get("input") or {}
    answered: dict[str, Any] = span.get("output") or {}
    said: list[tuple[str, list[dict[str, Any]]]] = [
        *((message["role"], message["parts"]) for message in asked.get("messages") or ()),
        *(("answer", choice["parts"]) for choice in answered.get("choices") or ()),
    ]
    return [(role, " ".join(_words(part) for part in parts)) for role, parts in said]


def _words(part: dict[str, Any]) -> str:
    return printable(part.get("text") or f"[{part['type']}]")


def _walk(spans: list[Span], indent: str, *, top: bool = False) -> Iterator[tuple[str, Span]]:
    for number, span in enumerate(spans, 1):
        last = number == len(spans)
        yield "" if top else indent + ("└ " if last else "├ "), span
        yield from _walk(span.get("children") or [], "" if top else indent + ("  " if last else "│ "))


def _note(span: Span) -> str:
    known: dict[str, Any] = span.get("attributes") or {}
    words: list[str] = [_MADE.get(str(known.get("backstay.attempt.reason")), "")]
    if (seam := known.get("backstay.attempt.seam")) is not None:
        words.append(f"after {seam:,} characters")
    if malformed := known.get("backstay.malformed_events"):
        words.append(f"{malformed:,} malformed events left out")
    if stand_in := known.get("backstay.degraded"):
        words.append(f"degraded: {stand_in}")
    return "   ".join(filter(None, (", ".join(filter(None, words)), _outcome(span))))


def _outcome(span: Span) -> str:
    if span.get("error_message"):
        return printable(span["error_message"])
    tokens = ""
    if span.get("input_tokens") is not None or span.get("output_tokens") is not None:
        tokens = f"{count(span.get('input_tokens')) or '?'} → {count(span.get('output_tokens')) or '?'} tokens"
    first = f"first token {duration(span['first_token_ms'])}" if span.get("first_token_ms") is not None else ""
    return "   ".join(part for part in (tokens, first, money(span.get("cost_usd"))) if part)


def _start_s(span: Span) -> float:
    return datetime.fromisoformat(span["started_at"]).timestamp()


def _length_s(span: Span) -> float:
    return float(span["duration_ms"]) / 1000
