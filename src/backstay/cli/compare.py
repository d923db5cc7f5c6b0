"""Owns ``backstay retrieval compare``: ways of cutting, embedding and searching, tried on one labelled set."""

import secrets
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import click
import msgspec

from backstay.cli.chunking_options import MAX_CHARS, MAX_TOKENS, OVERLAP_CHARS, STRATEGIES, STRATEGY, name_of
from backstay.cli.context import Cli, command
from backstay.cli.dot_plot import Dot, draw
from backstay.cli.http import Client
from backstay.cli.output import count, dump, duration, money, say, table
from backstay.cli.trial import MODES, Trial, fill, read_trial
from backstay.core.errors import InvalidRequest

_AT_ONCE = 2
_BOOKED_S = 20.0
_PATH = click.Path(path_type=Path, exists=True)


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """A way of cutting and embedding."""

    strategy: str
    max_chars: int
    overlap_chars: int
    max_tokens: int
    parent_chars: int | None
    context_model: str | None
    embedding_model: str

    def cut(self) -> dict[str, Any]:
        """Return how it cuts, as the API takes it."""
        return {name: getattr(self, name) for name in Variant.__struct_fields__ if name != "embedding_model"}

    def name(self, mode: str) -> str:
        """Return how it is called, with a mode of search."""
        return f"{name_of(self.cut())}, {self.embedding_model}, {mode}"


class Measure(msgspec.Struct, frozen=True, kw_only=True):
    """A mean over the queries, with the interval that holds it with a confidence of 95 %."""

    mean: float
    low: float
    high: float


class Row(Variant, frozen=True, kw_only=True):
    """What one way came to."""

    mode: str
    chunks: int
    built_s: float
    query_ms: float
    """The median of a query, over HTTP."""
    cost_usd: str | None
    """Of all embeddings of the variant, its queries' included."""
    measures: dict[str, Measure]


@click.command("compare")
@click.option("--corpus", required=True, type=_PATH, help="Documents: JSON lines, or a folder of text files.")
@click.option("--queries", required=True, type=_PATH, help="Queries: JSON lines with `_id` and `text`; or questions.")
@click.option("--qrels", type=_PATH, help="Judgements: query, document and grade between tabs.")
@click.option("--strategy", "strategies", multiple=True, type=click.Choice(STRATEGIES), help="How documents are cut.")
@click.option("--max-chars", "sizes", multiple=True, type=click.IntRange(100, 20_000), help="Longest chunk.")
@click.option("--overlap-chars", "overlaps", multiple=True, type=click.IntRange(0, 2000), help="Of neighbours.")
@click.option("--max-tokens", "tokens", multiple=True, type=click.IntRange(16, 4096), help="Longest with `tokens`.")
@click.option("--parent-chars", "parents", multiple=True, type=click.IntRange(0, 40_000), help="Read instead; 0: none.")
@click.option("--context-model", "contexts", multiple=True, help="Writes where each chunk stands; '': none.")
@click.option("--embedding-model", "models", multiple=True, help="By which texts become vectors.")
@click.option("--mode", "modes", multiple=True, type=click.Choice(MODES), help="How it is searched.")
@click.option("--limit", type=click.IntRange(1, 100), default=5, show_default=True, help="Chunks a question may read.")
@click.option("--language", default="auto", show_default=True, help="Whose words.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="An SVG file to draw the figures into.")
@command
def compare(
    cli: Cli, corpus: Path, queries: Path, qrels: Path | None, modes: Sequence[str], limit: int, language: str,
    plot: Path | None, **ways: Sequence[Any],
) -> None:  # fmt: skip
    """Try ways of cutting, embedding and searching on a labelled set, and print what each comes to.

    Each option may be given several times; all combinations are tried, each in a collection that is gone afterwards.
    With `--qrels`, whole documents are judged: nDCG@10, recall@10 and MRR. Without, `--queries` are questions with
    `document` and `references` (`start`, `end`, in characters), and what is judged is how much of these places is read.
    """
    trial = read_trial(corpus, queries, qrels, limit)
    variants = _variants(**ways)
    client, rows = cli.client(), list[Row]()
    for number, variant in enumerate(variants, 1):
        say(f"{number} of {len(variants)}: {variant.name(' and '.join(modes or MODES))}", err=True)
        rows += _try(client, trial, variant, modes or MODES, language)
    rows.sort(key=lambda row: -row.measures[trial.first].mean)
    if plot is not None:
        _draw(plot, trial, rows)
    if cli.json:
        dump({"queries": len(trial.asked), "rows": msgspec.to_builtins(rows)})
    else:
        _tell(trial, rows)


def _variants(
    strategies: Sequence[str], sizes: Sequence[int], overlaps: Sequence[int], tokens: Sequence[int],
    parents: Sequence[int], contexts: Sequence[str], models: Sequence[str],
) -> list[Variant]:  # fmt: skip
    """Return all combinations: `tokens` with each length in tokens, what else there is with each in characters."""
    variants = [
        Variant(
            strategy=strategy, max_chars=size, overlap_chars=overlap, max_tokens=most, parent_chars=parent or None,
            context_model=context or None, embedding_model=model,
        )
        for strategy in strategies or (STRATEGY,)
        for size, most in (
            product((MAX_CHARS,), tokens or (MAX_TOKENS,)) if strategy == "tokens"
            else product(sizes or (MAX_CHARS,), (MAX_TOKENS,))
        )
        for overlap, parent, context, model in product(
            overlaps or (OVERLAP_CHARS,), parents or (0,), contexts or ("",), models or ("embed",)
        )
    ]  # fmt: skip
    return list(dict.fromkeys(variants))


def _try(client: Client, trial: Trial, variant: Variant, modes: Sequence[str], language: str) -> list[Row]:
    """Build one collection, search it in each mode, and delete it."""
    name = f"compare-{secrets.token_hex(6)}"
    settings = {"embedding_model": variant.embedding_model, "language": language, "chunking": variant.cut()}
    client.post("/v1/collections", {"name": name, **settings})
    try:
        began = time.monotonic()
        fill(client, name, trial.documents)
        built_s = round(time.monotonic() - began, 2)
        found = {mode: _ask(client, trial, name, mode) for mode in modes}
        chunks = client.get(f"/v1/collections/{name}")["chunks"]
        cost_usd = _booked(client, name)
    finally:
        client.post(f"/v1/collections/{name}/delete")
    return [
        Row(
            **msgspec.structs.asdict(variant), mode=mode, chunks=chunks, built_s=built_s,
            query_ms=round(statistics.median(times_ms), 2), cost_usd=cost_usd, measures=measures,
        )
        for mode, (measures, times_ms) in found.items()
    ]  # fmt: skip


def _ask(client: Client, trial: Trial, name: str, mode: str) -> tuple[dict[str, Measure], list[float]]:
    """Ask each query; return the means of what it is measured by, and how long each took."""

    def ask(number: int) -> tuple[Mapping[str, float], float]:
        body, began = trial.body(number, mode), time.perf_counter()
        results = client.post(f"/v1/collections/{name}/search", body)["results"]
        return trial.measure(number, results), 1000 * (time.perf_counter() - began)

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        told = list(threads.map(ask, range(len(trial.asked))))
    measured = {each: _mean([figures[each] for figures, _ in told]) for each in told[0][0]}
    return measured, [took_ms for _, took_ms in told]


def _mean(values: Sequence[float]) -> Measure:
    from backstay.statistics.bootstrap import mean_interval

    low, high = mean_interval(values)
    return Measure(mean=statistics.fmean(values), low=low, high=high)


def _booked(client: Client, name: str) -> str | None:
    """Return what the calls for a collection cost, once no more of them are booked."""
    before, give_up = None, time.monotonic() + _BOOKED_S
    while time.monotonic() < give_up:
        rows = client.get("/v1/costs", {"by": "tag", "since": "1d"})["rows"]
        now = next((row for row in rows if row["tag"] == f"collection:{name}"), None)
        if now is not None and now == before:
            return None if now["unknown_cost_calls"] else now["cost_usd"]
        before = now
        time.sleep(1.0)
    return None


def _tell(trial: Trial, rows: Sequence[Row]) -> None:
    measures = list(rows[0].measures)
    head = ["cut", "model", "mode", "chunks", *measures, "built", "query", "cost"]
    table(head, [list(_cells(row)) for row in rows], right=head[3:])
    say(f"{len(trial.asked)} queries; means with their 95 % intervals, best by {trial.first} first.", err=True)


def _cells(row: Row) -> Iterator[str]:
    yield from (name_of(row.cut()), row.embedding_model, row.mode, count(row.chunks))
    for each in row.measures.values():
        yield f"{each.mean:.3f} ({each.low:.3f}–{each.high:.3f})"
    yield from (duration(1000 * row.built_s), duration(row.query_ms), money(row.cost_usd))


def _draw(file: Path, trial: Trial, rows: Sequence[Row]) -> None:
    panels: dict[str, list[Dot]] = {
        measure: [
            Dot(name=row.name(row.mode), at=each.mean, low=each.low, high=each.high) for row, each in _of(rows, measure)
        ]
        for measure in rows[0].measures
    }
    try:
        file.write_text(draw(panels, f"{len(trial.asked)} queries, means with their 95 % intervals"), encoding="utf-8")
    except OSError as error:
        raise InvalidRequest(f"{file} cannot be written: {error.strerror}.", param="--plot") from error


def _of(rows: Sequence[Row], measure: str) -> Iterator[tuple[Row, Measure]]:
    return ((row, row.measures[measure]) for row in rows)
