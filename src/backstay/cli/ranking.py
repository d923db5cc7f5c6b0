"""Owns the options that say how first hits are ranked, alike for every command that has them."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click

R = TypeVar("R")

_OPTIONS = (
    click.option("--expand", type=click.Choice(["rewrite", "multi_query", "hyde"]), help="Look for other words."),
    click.option("--expand-model", metavar="MODEL", help="The chat model that finds them."),
    click.option("--rerank", metavar="MODEL", help="Let this model order the first hits."),
    click.option("--rerank-by", type=click.Choice(["rerank", "chat"]), help="What it is.  [default: rerank]"),
    click.option("--recency", type=float, metavar="DAYS", help="Newer documents count for more: the half-life."),
    click.option("--recency-field", metavar="NAME", help="A date of the metadata.  [default: the last change]"),
    click.option("--authority", metavar="FIELD=PIVOT", help="Larger numbers of a field count for more."),
    click.option("--mmr", type=float, metavar="LAMBDA", help="Say nothing twice: the share of relevance, 0 to 1."),
    click.option("--rank-depth", type=int, help="How many first hits are ranked.  [default: 30]"),
)


def ranking_options(command: Callable[..., R]) -> Callable[..., R]:
    """Add them; the command is given ``ranking``, as the API takes it, or ``None`` where none was named."""

    @wraps(command)
    def given(*args: Any, **options: Any) -> R:
        told = {name: options.pop(name) for name in _NAMES}
        return command(*args, **{**options, "ranking": _read(told)})

    wrapped: Callable[..., R] = given
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


def ranking_override(command: Callable[..., R]) -> Callable[..., R]:
    """Add them and ``--no-ranking``, to go in the place of a collection's ranking: then ``ranking`` is empty."""

    @wraps(command)
    def given(*args: Any, no_ranking: bool, ranking: dict[str, Any] | None, **options: Any) -> R:
        if no_ranking and ranking is not None:
            raise click.UsageError("--no-ranking goes with no other way of ranking.")
        return command(*args, **options, ranking={} if no_ranking else ranking)

    return click.option("--no-ranking", is_flag=True, help="Show what is found as it is found.")(ranking_options(given))


_NAMES = ("expand", "expand_model", "rerank", "rerank_by", "recency", "recency_field", "authority", "mmr", "rank_depth")


def _read(told: dict[str, Any]) -> dict[str, Any] | None:
    ranking: dict[str, Any] = {}
    if (told["expand"] is None) != (told["expand_model"] is None):
        raise click.UsageError("--expand and --expand-model go together.")
    if told["expand"] is not None:
        ranking["expand"] = {"by": told["expand"], "model": told["expand_model"]}
    if told["rerank"] is not None:
        ranking["rerank"] = {"model": told["rerank"], "by": told["rerank_by"] or "rerank"}
    elif told["rerank_by"] is not None:
        raise click.UsageError("--rerank-by goes with --rerank.")
    if told["recency"] is not None:
        ranking["recency"] = {"half_life_days": told["recency"], "field": told["recency_field"]}
    elif told["recency_field"] is not None:
        raise click.UsageError("--recency-field goes with --recency.")
    if told["authority"] is not None:
        ranking["authority"] = _authority(told["authority"])
    if told["mmr"] is not None:
        ranking["mmr"] = {"lambda": told["mmr"]}
    if told["rank_depth"] is not None:
        ranking["depth"] = told["rank_depth"]
    return ranking or None


def _authority(told: str) -> dict[str, Any]:
    field, _, pivot = told.rpartition("=")
    try:
        return {"field": field, "pivot": float(pivot)} if field else _refuse(told)
    except ValueError:
        return _refuse(told)


def _refuse(told: str) -> dict[str, Any]:
    raise click.UsageError(f"--authority {told} is no FIELD=PIVOT, as in stars=100: 100 stars get half of the weight.")
