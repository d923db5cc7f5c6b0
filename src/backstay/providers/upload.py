"""Owns the sending of a long request body: in place and piece by piece, so that it is not copied and others go on."""

import asyncio

from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

from backstay.providers.types import Body

STREAMED_UPLOAD_BYTES = 1024 * 1024
"""Request bodies from here on are written piece by piece."""

_PIECE_BYTES = 64 * 1024


class Upload(Payload):
    """A body in pieces, for the HTTP client. (``io.BytesIO`` would be one, and copies all that it is given.)"""

    _autoclose = True

    def __init__(self, body: Body):
        self._views = [memoryview(piece) for piece in ((body,) if isinstance(body, bytes) else body)]
        super().__init__(self._views, content_type="application/json")
        self._size = sum(view.nbytes for view in self._views)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return b"".join(self._views).decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        for view in self._views:
            for start in range(0, view.nbytes, _PIECE_BYTES):
                await writer.write(view[start : start + _PIECE_BYTES])
                await asyncio.sleep(0)
