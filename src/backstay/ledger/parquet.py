"""Owns Parquet: CSV of the ledger in, row groups out, by the optional library ``pyarrow``."""

import importlib
import io
from typing import Any

from backstay.core.errors import InvalidRequest

_MISSING = "Parquet needs the library pyarrow. Install it with `pip install 'backstay[parquet]'`, or ask for CSV."


class ParquetBlocks:
    """Turns blocks of CSV, each of whole rows, into the bytes of one Parquet file."""

    def __init__(self) -> None:
        """Raises ``InvalidRequest`` if the library is not installed."""
        try:
            self._arrow: Any = importlib.import_module("pyarrow")
            self._csv: Any = importlib.import_module("pyarrow.csv")
            self._parquet: Any = importlib.import_module("pyarrow.parquet")
        except ModuleNotFoundError:
            raise InvalidRequest(_MISSING, param="format") from None
        self._out = io.BytesIO()
        self._names: list[str] | None = None
        self._schema = self._arrow.schema(self._fields())
        self._writer = self._parquet.ParquetWriter(self._out, self._schema, compression="zstd")

    def write(self, block: bytes) -> bytes:
        """Add rows; return what is ready. The first block begins with the names of the columns."""
        has_names = self._names is None
        if has_names:
            self._names = block.partition(b"\n")[0].decode().split(",")
        reading = self._csv.ReadOptions(column_names=self._names, skip_rows=int(has_names), block_size=len(block) + 1)
        converting = self._csv.ConvertOptions(
            column_types=self._schema, strings_can_be_null=True, quoted_strings_can_be_null=False,
            true_values=["t"], false_values=["f"],
        )  # fmt: skip
        parsing = self._csv.ParseOptions(newlines_in_values=True)
        if block.count(b"\n") > int(has_names):
            self._writer.write_table(self._csv.read_csv(io.BytesIO(block), reading, parsing, converting))
        return self._taken()

    def end(self) -> bytes:
        """Close the file; return what is left of it."""
        self._writer.close()
        return self._taken()

    def _taken(self) -> bytes:
        """Give what was written and let go of it; positions in the file go on."""
        written = self._out.getvalue()
        self._out.seek(0)
        self._out.truncate()
        return written

    def _fields(self) -> list[tuple[str, Any]]:
        arrow = self._arrow
        text, number, truth = arrow.string(), arrow.int64(), arrow.bool_()
        kinds = {
            "at": arrow.timestamp("us", tz="UTC"),
            "attempt": arrow.int16(),
            "input_tokens": number,
            "output_tokens": number,
            "cost_usd": arrow.decimal128(38, 9),
            "estimated": truth,
            "unconfirmed": truth,
        }
        return [(name, kinds.get(name, text)) for name in COLUMNS]


COLUMNS = (
    "at", "trace_id", "call_id", "attempt", "key_id", "user", "feature", "tags", "model", "target", "input_tokens",
    "output_tokens", "cost_usd", "estimated", "unconfirmed", "unused", "price_source", "lines",
)  # fmt: skip
"""Of an export by attempts, in its order."""
