"""Owns the same figures as a file: CSV for spreadsheets. Pure."""

import csv
import io
from collections.abc import Iterable, Sequence

from starlette.responses import Response

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_file(name: str, header: Sequence[str], rows: Iterable[Sequence[str | int | None]]) -> Response:
    """Answer with a CSV file. ``None`` is an empty field: an unknown amount is not 0."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(header)
    writer.writerows([_safe(value) for value in row] for row in rows)
    headers = {
        "content-disposition": f'attachment; filename="backstay-{name}.csv"',
        "cache-control": "private, no-cache",
    }
    return Response(out.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)


def _safe(value: str | int | None) -> str | int:
    """Keep a spreadsheet from running what a caller named a user or feature."""
    if value is None:
        return ""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
