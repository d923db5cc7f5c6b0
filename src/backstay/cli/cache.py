"""Owns ``backstay cache``: what is kept, letting go of it, and the trial of a semantic cache."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from backstay.cli.context import Cli, command
from backstay.cli.output import count, dump, local_time, money, say, table
from backstay.core.errors import ConfigError

_SAME = {True: "yes", False: "no", None: "unclear"}


@click.group()
def cache() -> None:
    """Show and purge answers that are kept, and try a semantic cache out."""


@cache.command()
@click.option("--model", help="Of one model only.")
@click.option("--since", default="7d", show_default=True, help="Count hits since: 24h, 7d or an RFC 3339 time.")
@command
def stats(cli: Cli, model: str | None, since: str) -> None:
    """Show what is kept, and what the hits saved."""
    answer = cli.client().get("/v1/cache", {"model": model, "since": since})
    if cli.json:
        dump(answer)
        return
    rows = [
        [row["model"], row["feature"] or "", count(row["entries"]), count(row["size_bytes"]), count(row["hits"]),
         count(row["semantic_hits"]), count(row["misses"]), money(row["saved_usd"]), local_time(row["oldest_at"])]
        for row in answer["rows"]
    ]  # fmt: skip
    head = ["model", "feature", "entries", "bytes", "hits", "semantic", "misses", "saved", "oldest"]
    table(head, rows, right=["entries", "bytes", "hits", "semantic", "misses", "saved"])
    for name, why in answer["semantic_off"].items():
        say(f"The semantic cache of {name} is off for this tenant. {why}")


@cache.command()
@click.option("--model", help="Answers of this model.")
@click.option("--feature", help="Answers to this feature's calls.")
@click.option("--trace", metavar="ID", help="The answer of this call, by its whole trace id.")
@click.option("--older-than", help="Answers given before: 15m, 24h, 7d ago or an RFC 3339 time.")
@click.option("--like", metavar="TEXT", help="Answers to questions that mean the same as this one.")
@click.option("--all", "everything", is_flag=True, help="All answers of the tenant.")
@command
def purge(cli: Cli, everything: bool, **conditions: str | None) -> None:
    """Let go of answers, on every worker. Conditions must all hold."""
    wanted = {name: value for name, value in conditions.items() if value is not None}
    if not wanted and not everything:
        raise click.UsageError("Say what to purge: --model, --feature, --trace, --older-than, --like, or --all.")
    answer = cli.client().post("/v1/cache/purge", wanted)
    if cli.json:
        dump(answer)
    else:
        say(f"{answer['purged']:,} answer{' is' if answer['purged'] == 1 else 's are'} gone.")


@cache.command()
@click.option("--model", help="Of one model only.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=1000, show_default=True, help="The newest ones.")
@click.option(
    "--export", type=click.Path(path_type=Path, dir_okay=False),
    help="Write the labelled ones as a calibration file: lines of a, b, same.",
)  # fmt: skip
@command
def pairs(cli: Cli, model: str | None, limit: int, export: Path | None) -> None:
    """Show pairs of questions, and whether they may share an answer, as checks and corrections showed it."""
    answer = cli.client().get("/v1/cache/pairs", {"model": model, "limit": limit})
    labelled = [{name: row[name] for name in ("a", "b", "same")} for row in answer["pairs"] if row["same"] is not None]
    if export is not None:
        export.write_text("".join(json.dumps(each) + "\n" for each in labelled), encoding="utf-8")
    if cli.json:
        dump(answer)
    elif export is not None:
        say(f"{len(labelled):,} labelled pairs are in {export}.")
    else:
        rows = [
            [local_time(row["created_at"]), row["model"], _SAME[row["same"]], row["source"], row["a"], row["b"]]
            for row in answer["pairs"]
        ]
        table(["at", "model", "may share", "by", "kept question", "asked"], rows)


@cache.command()
@click.argument("trace")
@click.option("--call", metavar="SPAN", help="Where the trace has several calls: the one with this span id.")
@command
def correct(cli: Cli, trace: str, call: str | None) -> None:
    """Say that the answer of a call was wrong: it goes, and the questions that shared it are noted as different."""
    answer = cli.client().post("/v1/cache/corrections", {"trace": trace} | ({"call": call} if call else {}))
    if cli.json:
        dump(answer)
    else:
        say(f"{answer['purged']:,} answer{' is' if answer['purged'] == 1 else 's are'} gone.")


@cache.command("eval")
@click.option(
    "--data", "data", multiple=True, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help='Questions to ask: lines of {"text", "intent"}. Given twice: what the cache holds, then what it is asked.',
)  # fmt: skip
@click.option(
    "--cache", "kept", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Questions that the cache holds.  [default: all others of --data]",
)  # fmt: skip
@click.option(
    "--calibration", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Labels to calibrate on.  [default: the model's, else what the cache holds, else half of --data]",
)  # fmt: skip
@click.option(
    "--model", help="Take the settings of this model of backstay.toml.  [default: the one with a semantic cache]"
)
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="The policy.  [default: backstay.toml]")
@click.option(
    "--max-false-hits", type=click.FloatRange(0, 1, min_open=True, max_open=True), help="Instead of the model's."
)
@click.option(
    "--confidence", type=click.FloatRange(0.5, 1, min_open=True, max_open=True), help="Instead of the model's."
)
@command
def evaluate(
    cli: Cli, data: Sequence[Path], kept: Path | None, calibration: Path | None, model: str | None,
    config: Path | None, max_false_hits: float | None, confidence: float | None,
) -> None:  # fmt: skip
    """Try a semantic cache on labelled questions: how often it would answer, and how often wrongly. Needs no server."""
    from backstay.cli.cache_trial import try_cache

    if len(data) > 2 or (len(data) == 2 and kept is not None):
        raise click.UsageError("Give --data once with --cache, or twice: what the cache holds, then what it is asked.")
    if len(data) == 2:
        kept = data[0]
    settings = _settings(model, config)
    answer = try_cache(
        data[-1], kept, calibration or settings.calibration or kept,
        bound=max_false_hits or settings.max_false_hits, confidence=confidence or settings.confidence,
    )  # fmt: skip
    if cli.json:
        dump(answer)
    else:
        _tell(answer)


def _settings(model: str | None, config: Path | None) -> Any:
    """Find the settings of a model; of none that is named, those of the semantic cache that the policy has, if any."""
    from backstay.cache import CacheConfig
    from backstay.policy import load_policy

    policy = load_policy(config, os.environ)
    if model is None:
        found = {name: each.cache for name, each in policy.models.items() if each.cache.semantic}
        if len({(each.max_false_hits, each.confidence, each.calibration) for each in found.values()}) > 1:
            raise ConfigError(f"Choose the model whose settings to take with --model: {', '.join(sorted(found))}.")
        return next(iter(found.values()), CacheConfig())
    if model not in policy.models:
        raise ConfigError(f"there is no model {model!r}. There are: {', '.join(sorted(policy.models))}.")
    return policy.models[model].cache


def _tell(answer: dict[str, Any]) -> None:
    shown = answer["calibration"]
    say(
        f"calibrated on {shown['file']}: {shown['learned_from']:,} questions learned from, "
        f"{shown['shown_on']:,} to show the bound of {answer['max_false_hits']:.2%} on"
    )
    if answer["problem"]:
        say(answer["problem"])
        return
    say(f"threshold {answer['threshold']:.4f}: there, {shown['errors']:,} of {shown['accepted']:,} hits were false")
    say(f"{answer['hits']:,} hits of {answer['queries']:,} questions ({answer['hit_rate']:.1%})")
    if answer["hits"]:
        low, high = answer["false_hit_interval"]
        say(
            f"{answer['false_hits']:,} of them false ({answer['false_hit_rate']:.2%}; with confidence "
            f"{answer['confidence']:.0%} from {low:.2%} to {high:.2%})"
        )
