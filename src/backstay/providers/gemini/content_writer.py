"""Owns the writing of a conversation as Gemini's ``systemInstruction`` and ``contents``.

Translated rather than refused, because nothing of it is lost:
- system and developer messages become the system instruction, wherever they stood: a content has no such role;
- neighbouring messages of one role become one, tool results first;
- a tool result that is a JSON object is the response; any other text is its ``output``, or its ``error``;
- tool arguments that are not JSON travel inside an object (``anthropic.tool_input``);
- a plain-text document becomes a text between ``<document>`` tags;
- a signed thought's signature goes back with the part that follows it, where this dialect had it. The calls of another
  model, or of a caller who lost the signature, get the one that Google documents for that, where models demand one.
"""

import mimetypes
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from backstay.core.chat import (
    Audio,
    ChatRequest,
    Document,
    Image,
    Message,
    Part,
    Reasoning,
    Refusal,
    Text,
    ToolResult,
    ToolUse,
)
from backstay.providers.anthropic.tool_input import is_object, write_input
from backstay.providers.caller_paths import message_path, tool_result_path, tool_use_id_path
from backstay.providers.gemini.response import signature_alone
from backstay.providers.refusals import refuse
from backstay.providers.signatures import signature_for

TARGET = "Gemini's generateContent"

NO_SIGNATURE = "skip_thought_signature_validator"
"""Source: https://ai.google.dev/gemini-api/docs/thought-signatures, FAQ on traces of other models (2026-11)."""

_BEFORE_3 = re.compile(r"gemini-([12]\.|pro-1|flash-1)|gemma-")
_OUR_KEYS = frozenset({"output", "error"})


def is_before_gemini_3(model_id: str) -> bool:
    """Whether a model thinks by a budget and demands no signatures; an alias such as ``gemini-pro-latest`` is newer."""
    return _BEFORE_3.search(model_id) is not None


def write_contents(request: ChatRequest, model_id: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the system instruction's parts and the contents. Raises ``Untranslatable`` by the caller's path."""
    system: list[dict[str, Any]] = []
    contents: list[dict[str, Any]] = []
    writer = _PartWriter(request)
    for index, message in enumerate(request.messages):
        path = message_path(request, index)
        if message.name is not None:
            raise refuse(f"{path}.name", f"{TARGET} has no names for speakers.")
        parts, role = writer.write(message, path), _role(message)
        if role == "system":
            system += parts
        elif contents and contents[-1]["role"] == role:
            contents[-1]["parts"] += parts
        elif parts:
            contents.append({"role": role, "parts": parts})
    if not contents:
        raise refuse("messages", f"{TARGET} needs at least one message that is not empty, besides the system's.")
    if contents[-1]["role"] == "model":
        path = message_path(request, len(request.messages) - 1)
        raise refuse(path, f"{TARGET} would go on with it instead of answering it.")
    for content in contents:
        if content["role"] == "user":
            content["parts"].sort(key=_after_tool_results)
        elif not is_before_gemini_3(model_id):
            _sign_first_call(content["parts"])
    return system, contents


def _role(message: Message) -> str:
    if message.role in ("system", "developer"):
        return "system"
    return "model" if message.role == "assistant" else "user"


def _after_tool_results(part: dict[str, Any]) -> bool:
    return "functionResponse" not in part


def _sign_first_call(parts: list[dict[str, Any]]) -> None:
    """Sign the first of the calls that were made at once: that one must be."""
    for part in parts:
        if "functionCall" in part:
            part.setdefault("thoughtSignature", NO_SIGNATURE)
            return


class _PartWriter:
    """Writes the parts of one conversation. It knows the names of the tools called so far: results need them."""

    def __init__(self, request: ChatRequest):
        self._request = request
        self._names: dict[str, str] = {}
        """Id of a tool call → name of its tool."""

    def write(self, message: Message, path: str) -> list[dict[str, Any]]:
        written: list[dict[str, Any]] = []
        signature: str | None = None
        """Of a thought just before: it belongs to the part that comes now."""
        for index, part in enumerate(message.parts):
            if isinstance(part, Reasoning):
                own = signature_for("gemini", part.signature)
                if own is None:
                    continue
                written += signature_alone(signature)
                signature = own
                written += [{"text": part.text, "thought": True}] if part.text else []
                continue
            wire = self._write_part(part, path, index)
            if not wire:
                continue
            if signature is not None and isinstance(part, Text | ToolUse):
                wire["thoughtSignature"] = signature
            else:
                written += signature_alone(signature)
            written.append(wire)
            signature = None
        return written + signature_alone(signature)

    def _write_part(self, part: Part, path: str, index: int) -> dict[str, Any]:
        """Write a part; nothing where it says nothing."""
        place = f"{path}.content[{index}]"
        match part:
            case Text() | Refusal():
                return {"text": part.text} if part.text else {}
            case ToolUse():
                self._names[part.id] = part.name
                return {"functionCall": {"id": part.id, "name": part.name, "args": write_input(part.arguments)}}
            case ToolResult():
                return self._write_tool_result(part, tool_result_path(self._request, path, index))
            case Audio():
                return _inline(f"audio/{part.format}", part.data)
            case Image() | Document():
                return _write_media(part, place)
            case Reasoning():
                raise AssertionError("thoughts are written with what follows them")

    def _write_tool_result(self, result: ToolResult, path: str) -> dict[str, Any]:
        name = self._names.get(result.tool_use_id)
        if name is None:
            raise refuse(
                tool_use_id_path(self._request, path),
                f"{TARGET} wants the tool's name, and no call before has the id {result.tool_use_id!r}.",
            )
        texts: list[str] = []
        media: list[dict[str, Any]] = []
        for index, part in enumerate(result.parts):
            wire = {"text": part.text} if isinstance(part, Text) else _write_media(part, f"{path}.content[{index}]")
            if "text" in wire:
                texts.append(wire["text"])
            else:
                media.append(wire)
        response: dict[str, Any] = {"id": result.tool_use_id, "name": name, "response": _write_output(texts, result)}
        if media:
            response["parts"] = media
        return {"functionResponse": response}


def _write_output(texts: Sequence[str], result: ToolResult) -> Any:
    """Source: google-genai 3.6.1, ``FunctionResponse.response``, on the keys ``output`` and ``error`` (2026-11)."""
    text = "\n".join(texts)
    if not result.is_error and is_object(text) and _OUR_KEYS.isdisjoint(msgspec.json.decode(text)):
        return msgspec.Raw(text.encode())
    return {"error" if result.is_error else "output": text}


def _write_media(part: Image | Document, path: str) -> dict[str, Any]:
    if part.data is not None:
        fallback = "image/png" if isinstance(part, Image) else "application/pdf"
        return _inline(part.media_type or fallback, part.data)
    if isinstance(part, Document):
        if part.text is not None:
            title = "" if part.name is None else f' title="{part.name}"'
            return {"text": f"<document{title}>\n{part.text}\n</document>"}
        if part.url is None:
            raise refuse(path, f"{TARGET} takes a document inline or by URL, not by another vendor's file id.")
    if part.url is None:
        raise refuse(path, f"{TARGET} takes an image by URL or inline.")
    media_type = part.media_type or _guessed_type(part.url, is_document=isinstance(part, Document))
    return {"fileData": {"fileUri": part.url} | ({} if media_type is None else {"mimeType": media_type})}


def _guessed_type(url: str, *, is_document: bool) -> str | None:
    """Guess from the URL's name; what the caller calls a document is one, whatever its name looks like."""
    guess = mimetypes.guess_type(url.partition("?")[0])[0]
    if is_document and (guess is None or guess.startswith("image/")):
        return "application/pdf"
    return guess


def _inline(media_type: str, data: str) -> dict[str, Any]:
    return {"inlineData": {"mimeType": media_type, "data": data}}
