"""Owns what people write for lists and times on the command line."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import click

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


class CommaList(click.ParamType[list[str]]):
    """``a,b,c``: names between commas."""

    name = "a,b"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        return [name for part in str(value).split(",") if (name := part.strip())]


class Every(click.ParamType[int]):
    """How often: ``15m``, ``6h``, ``7d``. Becomes seconds."""

    name = "6h"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        span = re.fullmatch(r"(\d{1,4})([mhd])", str(value))
        if span is None or not int(span[1]):
            self.fail(f"{value!r} does not say how often. Write 15m, 6h or 7d.", param, ctx)
        return int(timedelta(**{_UNITS[span[2]]: int(span[1])}).total_seconds())


class Moment(click.ParamType[str]):
    """A time to come: ``90d``, ``12h``, ``15m`` from now, or RFC 3339 with its zone. Becomes RFC 3339."""

    name = "90d"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if span := re.fullmatch(r"(\d{1,6})([mhd])", str(value)):
            return (datetime.now(UTC) + timedelta(**{_UNITS[span[2]]: int(span[1])})).isoformat(timespec="seconds")
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a time. Write 90d, 12h, 15m or 2030-01-31T12:00:00Z.", param, ctx)
        if moment.tzinfo is None:
            self.fail(f"{value!r} has no time zone. Write it like 2030-01-31T12:00:00Z.", param, ctx)
        return moment.isoformat()
