"""Owns the reading of labelled sets in BEIR's layout: JSON lines of texts, and judgements between tabs."""

import json
from pathlib import Path
from typing import Any, cast

from backstay.core.errors import InvalidRequest


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read documents or queries. Raises ``InvalidRequest`` with the line that is none."""
    found: list[dict[str, Any]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            told: Any = json.loads(line)
        except ValueError:
            told = None
        if not isinstance(told, dict) or "_id" not in told or "text" not in told:
            raise InvalidRequest(f"{path}, line {number}: a line must be a JSON object with `_id` and `text`.")
        found.append(cast(dict[str, Any], told))
    return found


def read_qrels(path: Path) -> dict[str, dict[str, float]]:
    """Read grades of documents by query. Raises ``InvalidRequest`` with the line that is none, or if there is none."""
    judged: dict[str, dict[str, float]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        parts = line.split("\t")
        if not line.strip() or (number == 1 and parts[-1:] == ["score"]):
            continue
        try:
            query, document, grade = parts
            judged.setdefault(query, {})[document] = float(grade)
        except ValueError:
            raise InvalidRequest(f"{path}, line {number}: write query, document and grade between tabs.") from None
    if not judged:
        raise InvalidRequest(f"{path} has no judgements.")
    return judged
