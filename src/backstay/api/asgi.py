"""Owns the front door: one ASGI callable that sends a vendor's wire to the gateway and everything else to its page."""

from starlette.types import ASGIApp

from backstay.api.bodies import Receive
from backstay.api.wires import Scope, Send, Wire, Wires
from backstay.core.errors import BackstayError, MethodNotAllowed, NotFound
from backstay.providers import ANTHROPIC, OPENAI, RESPONSES

_OPENAI_HEADERS = frozenset({b"openai-organization", b"openai-project", b"openai-beta"})
_ANTHROPIC_HEADERS = frozenset({b"anthropic-version", b"anthropic-beta"})

WIRES = (
    Wire(path="/v1/chat/completions", operation="chat", dialect=OPENAI, forward=_OPENAI_HEADERS),
    Wire(path="/v1/responses", operation="chat", dialect=RESPONSES, forward=_OPENAI_HEADERS),
    Wire(path="/v1/embeddings", operation="embeddings", dialect=OPENAI, forward=_OPENAI_HEADERS),
    Wire(path="/v1/rerank", operation="rerank", dialect=OPENAI),
    Wire(path="/v1/messages", operation="chat", dialect=ANTHROPIC, forward=_ANTHROPIC_HEADERS),
    Wire(path="/v1/messages/count_tokens", operation="count_tokens", dialect=ANTHROPIC, forward=_ANTHROPIC_HEADERS),
)


class FrontDoor:
    """The application of one worker."""

    def __init__(self, wires: Wires, pages: ASGIApp):
        self._answer = wires
        self._wires = {wire.path: wire for wire in WIRES}
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        wire = self._wires.get(scope["path"])
        if wire is None and scope.get("method") == "POST" and (missed := _missed_wire(scope["path"])):
            wire, advice = missed
            await _refuse(wire, NotFound(f"There is no {scope['path']}: {advice}"), send)
        elif wire is None:
            await self._pages(scope, receive, send)
        elif scope["method"] == "POST":
            await self._answer(wire, scope, receive, send)
        else:
            await _refuse(wire, MethodNotAllowed(f"{wire.path} is called with POST."), send, (b"allow", b"POST"))


def _missed_wire(path: str) -> tuple[Wire, str] | None:
    """Find the wire that a path was meant for, and what its caller's ``base_url`` should be."""
    for wire in WIRES:
        if path == f"/v1{wire.path}":
            return wire, f"the path is {wire.path}. Leave /v1 out of the base_url: this SDK adds it."
        if f"/v1{path}" == wire.path:
            return wire, f"the path is {wire.path}. End the base_url in /v1."
        if path == f"{wire.path}/":
            return wire, f"the path is {wire.path}, without a slash at its end."
    return None


async def _refuse(wire: Wire, error: BackstayError, send: Send, *more: tuple[bytes, bytes]) -> None:
    status, _, body = wire.dialect.write_error(error)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
