"""Owns the step from a request's model name to the targets that may answer it."""

import difflib
from collections.abc import Callable, Iterator, Mapping

import msgspec

from backstay.core.caller import Caller
from backstay.core.errors import Forbidden, InvalidRequest, UnknownModel
from backstay.gateway.body import read_fields, read_flag, read_text
from backstay.gateway.types import Incoming, Model, Target
from backstay.providers import Fields
from backstay.providers.rerank_wire import read_rerank_request

_SUGGESTIONS = 5

_KEPT_ELSEWHERE = frozenset({"conversation", "previous_response_id", "prompt"})
"""What a request of OpenAI's responses API may have instead of an input."""


class Models:
    """The models that callers may name: those of the policy, and what may be addressed without an entry in it."""

    def __init__(
        self,
        named: Mapping[str, Model],
        direct: Callable[[str], Target | None] = lambda name: None,
        collections: Mapping[str, str] | None = None,
    ):
        """Take them. ``collections``: those of the names that collections of documents answer by, which have no targets
        of their own."""
        self._named = named
        self._direct = direct
        self.collections: Mapping[str, str] = collections or {}

    def __iter__(self) -> Iterator[Model]:
        return iter(self._named.values())

    def visible_to(self, caller: Caller) -> list[Model]:
        """List the models that a caller may use, in the policy's order."""
        return [model for name, model in self._named.items() if caller.models is None or name in caller.models]

    def names_for(self, caller: Caller) -> list[str]:
        """List all names that a caller may use, those of collections last."""
        names = [*self._named, *self.collections]
        return [name for name in names if caller.models is None or name in caller.models]

    def collection(self, name: str, caller: Caller) -> str | None:
        """Return the collection that answers by a name which the caller may use; ``None``: none does."""
        return self.collections.get(name) if caller.models is None or name in caller.models else None

    def find(self, name: str, caller: Caller) -> Model:
        """Find a model by the name that a caller gave.

        Raises:
            UnknownModel: There is none, or the caller may not know of it; the message names the nearest ones.
        """
        if caller.models is None or name in caller.models:
            model = self._named.get(name)
            if model is not None:
                return model
            if name in self.collections:
                raise UnknownModel(
                    f"{name!r} is a collection of documents. A server answers by it, at /v1/chat/completions alone.",
                    param="model",
                )
            target = self._direct(name)
            if target is not None:
                return Model(name=name, targets=(target,))
        raise UnknownModel(self._unknown(name, caller), param="model")

    def target(self, name: str) -> Target | None:
        """Return a target by its own name, whoever may use it; ``None`` if there is none any more."""
        targets = (target for model in self._named.values() for target in model.all_targets if target.name == name)
        return next(targets, None) or self._direct(name)

    def _unknown(self, name: str, caller: Caller) -> str:
        names = self.names_for(caller)
        near = difflib.get_close_matches(name, names, n=_SUGGESTIONS, cutoff=0.0)
        if not near:
            return f"There is no model {name!r}, and this key may use none."
        more = f" and {len(names) - len(near)} more (GET /v1/models)" if len(names) > len(near) else ""
        return f"There is no model {name!r}. This key may use: {', '.join(near)}{more}."


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """A request that is understood: which model, how it is to be answered, to whom it is attributed."""

    fields: Fields
    model: Model
    stream: bool
    user: str | None


def resolve(models: Models, incoming: Incoming) -> Resolved:
    """Read what the gateway itself needs of a request and find the model.

    Raises:
        InvalidRequest: A field is missing or of the wrong type.
        UnknownModel: No such model.
        Forbidden: The caller may not use this wire.
    """
    caller = incoming.caller
    if not caller.may("call"):
        raise Forbidden("This key has no right to call models. Make one with the right `call`.")
    if caller.routes is not None and incoming.path not in caller.routes:
        raise Forbidden(f"This key may use {', '.join(sorted(caller.routes))}, not {incoming.path}.")
    fields = read_fields(incoming.body)
    name = read_text(fields, "model")
    if not name:
        raise InvalidRequest("model is missing. Name one; GET /v1/models lists them.", param="model")
    _require_content(incoming, fields)
    return Resolved(
        fields=fields,
        model=_narrowed(models.find(name, caller), incoming.only_target),
        stream=incoming.operation == "chat" and read_flag(fields, "stream"),
        user=_user(fields),
    )


def _narrowed(model: Model, only_target: str | None) -> Model:
    """Leave a model the one target that keeps the conversation. Raises ``InvalidRequest`` if it has it not."""
    if only_target is None:
        return model
    targets = tuple(target for target in model.all_targets if target.name == only_target)
    if not targets:
        raise InvalidRequest(
            f"The previous response is kept by {only_target}, which is no target of {model.name}. Go on with a model "
            "that has it, or send the whole input.",
            param="previous_response_id",
        )
    degraded = msgspec.structs.replace(model.route.degraded, target=None)
    route = msgspec.structs.replace(model.route, degraded=degraded)
    return msgspec.structs.replace(model, targets=targets[:1], route=route)


def _require_content(incoming: Incoming, fields: Fields) -> None:
    if incoming.dialect.name == "responses" and _KEPT_ELSEWHERE & fields.keys():
        return
    if incoming.operation == "rerank":
        read_rerank_request(fields)
        return
    name = "input" if incoming.operation == "embeddings" or incoming.dialect.name == "responses" else "messages"
    beginning = bytes(memoryview(fields.get(name, b"null"))[:64])
    if beginning == b"null":
        raise InvalidRequest(f"{name} is missing.", param=name)
    if name == "messages" and beginning[:1] != b"[":
        raise InvalidRequest("messages must be a list of messages.", param="messages")
    if name == "messages" and not beginning[1:].strip(b" \t\r\n]"):
        raise InvalidRequest("messages is empty. Send at least one message.", param="messages")


class _Metadata(msgspec.Struct, frozen=True):
    user_id: str | None = None


def _user(fields: Fields) -> str | None:
    """Read the end user from the wire's own field: ``user``, ``safety_identifier`` or ``metadata.user_id``."""
    for name in ("user", "safety_identifier"):
        if name in fields and (user := read_text(fields, name)):
            return user
    raw = fields.get("metadata")
    if raw is None:
        return None
    try:
        metadata = msgspec.json.decode(raw, type=_Metadata | None)
    except msgspec.DecodeError:
        raise InvalidRequest("metadata must be an object, and its user_id a string.", param="metadata") from None
    return metadata.user_id or None if metadata else None
