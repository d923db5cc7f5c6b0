"""Owns the static files: in memory, under names that carry their content's hash, so that browsers may keep them."""

import gzip
import hashlib
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

from backstay.core.errors import NotFound

_KINDS = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}


class Assets:
    """The files of the folder ``static``."""

    def __init__(self) -> None:
        self._addresses: dict[str, str] = {}
        self._answers: dict[str, tuple[str, bytes, bytes]] = {}
        for file in files("backstay.console").joinpath("static").iterdir():
            stem, _, kind = file.name.rpartition(".")
            if kind not in _KINDS:
                continue
            body = file.read_bytes()
            hashed = f"{stem}.{hashlib.sha256(body).hexdigest()[:12]}.{kind}"
            self._addresses[file.name] = f"/assets/{hashed}"
            self._answers[hashed] = (_KINDS[kind], body, gzip.compress(body, mtime=0))

    def url(self, name: str) -> str:
        """Return the address of a file. Raises ``KeyError`` if there is none."""
        return self._addresses[name]

    async def serve(self, request: Request) -> Response:
        """Answer with a file; raises ``NotFound``."""
        answer = self._answers.get(request.path_params["name"])
        if answer is None:
            raise NotFound
        kind, body, packed = answer
        headers = {"cache-control": "public, max-age=31536000, immutable", "vary": "accept-encoding"}
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(packed, media_type=kind, headers=headers | {"content-encoding": "gzip"})
        return Response(body, media_type=kind, headers=headers)
