"""Owns images, documents and sound on Converse's wire: formats instead of media types, S3 instead of URLs.

Source: botocore 1.44.8, ``data/bedrock-runtime/2023-09-30/service-2.json``: ``ImageBlock``, ``DocumentBlock``,
``AudioBlock`` (2026-11).
"""

import base64
import re
from collections.abc import Iterable, Mapping
from typing import Any

from backstay.core.chat import Audio, Document, Image
from backstay.core.errors import InvalidRequest
from backstay.providers.data_url import text_of
from backstay.providers.fields import ObjectReader
from backstay.providers.refusals import refuse

TARGET = "Amazon Bedrock"

_IMAGES: Mapping[str, str] = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/gif": "gif",
    "image/webp": "webp",
}
_DOCUMENTS: Mapping[str, str] = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}
_SOUNDS = frozenset(
    "mp3 opus wav aac flac mp4 ogg mkv mka x-aac m4a mpeg mpga pcm webm".split()  # noqa: SIM905 - as the document has it
)
_ALIASES: Mapping[str, str] = {"jpg": "jpeg", "image/jpg": "image/jpeg", "htm": "html", "markdown": "md", "text": "txt"}
_MEDIA_TYPES: Mapping[str, str] = {name: media for media, name in (_IMAGES | _DOCUMENTS).items()}
_LONGEST_NAME = 200
_S3 = "s3://"


def write_image(part: Image, path: str) -> dict[str, Any]:
    """Write an image. Raises ``Untranslatable`` for a URL that is not S3's, and for other formats."""
    if part.data is None and not (part.url or "").startswith(_S3):
        raise refuse(path, f"{TARGET} takes an image inline or from S3 (`s3://…`), not from elsewhere.")
    form = _format(part.media_type, part.url, _IMAGES, default="png" if part.data is not None else None)
    if form is None:
        raise refuse(path, f"{TARGET} takes images as {_list(_IMAGES.values())}.")
    return {"image": {"format": form, "source": _source(part.data, part.url)}}


def write_document(part: Document, path: str, name: str) -> dict[str, Any]:
    """Write a document under a name that is the only one of its kind in the request. Raises ``Untranslatable``."""
    data = part.data
    if data is None and part.text is not None:
        data = base64.b64encode(part.text.encode()).decode()
    if data is None and not (part.url or "").startswith(_S3):
        raise refuse(path, f"{TARGET} takes a document inline or from S3 (`s3://…`), not from elsewhere.")
    form = _format(part.media_type, part.url or part.name, _DOCUMENTS, default="txt" if part.text is not None else None)
    if form is None:
        raise refuse(path, f"{TARGET} takes documents as {_list(_DOCUMENTS.values())}.")
    return {"document": {"format": form, "name": name, "source": _source(data, part.url)}}


def write_audio(part: Audio, path: str) -> dict[str, Any]:
    """Write sound. Raises ``Untranslatable`` for other formats."""
    if part.format not in _SOUNDS:
        raise refuse(path, f"{TARGET} takes sound as {_list(sorted(_SOUNDS))}.")
    return {"audio": {"format": part.format, "source": {"bytes": part.data}}}


class DocumentNames:
    """Gives each document of a request a name that Bedrock takes, and no two the same, which it refuses."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def name(self, wanted: str | None) -> str:
        """Return the name itself where that is possible: letters, digits, ``-()[]`` and single spaces are allowed."""
        clean = re.sub(r"[^A-Za-z0-9\-()\[\] ]+", "-", wanted or "document")
        clean = re.sub(r" +", " ", clean).strip()[:_LONGEST_NAME] or "document"
        name, number = clean, 1
        while name in self._taken:
            number += 1
            name = f"{clean[: _LONGEST_NAME - 8]} {number}"
        self._taken.add(name)
        return name


def _format(media_type: str | None, place: str | None, known: Mapping[str, str], *, default: str | None) -> str | None:
    """Find the format: by media type, else by the ending of a name or URL."""
    if media_type is not None:
        media_type = media_type.lower()
        return known.get(_ALIASES.get(media_type, media_type))
    ending = (place or "").rpartition(".")[2].lower()
    ending = _ALIASES.get(ending, ending)
    return ending if ending in known.values() else default


def _source(data: str | None, url: str | None) -> dict[str, Any]:
    return {"bytes": data} if data is not None else {"s3Location": {"uri": url}}


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)


def read_image(image: ObjectReader) -> Image:
    """Read an image. Raises ``InvalidRequest``."""
    data, url, _ = _read_source(image)
    form = image.required("format", str)
    return Image(data=data, url=url, media_type=_MEDIA_TYPES.get(form) if url is None else None)


def read_document(document: ObjectReader) -> Document:
    """Read a document; one of plain text has its text. Raises ``InvalidRequest``."""
    data, url, text = _read_source(document)
    name, form = document.required("name", str), document.optional("format", str) or "txt"
    if form == "txt" and data is not None and text is None:
        text = text_of(data)
    media_type = _MEDIA_TYPES.get(form)
    if text is not None:
        return Document(text=text, media_type=media_type, name=name)
    return Document(data=data, url=url, media_type=media_type, name=name)


def read_audio(audio: ObjectReader) -> Audio:
    """Read sound. Raises ``InvalidRequest``."""
    data, _, _ = _read_source(audio)
    return Audio(data=data or "", format=audio.required("format", str))


def _read_source(block: ObjectReader) -> tuple[str | None, str | None, str | None]:
    """Return the one that is there of: base64 data, an S3 address, a text."""
    source = block.object("source")
    if source is None:
        raise InvalidRequest(f"{block.at('source')} is required.", param=block.at("source"))
    data, text, place = source.optional("bytes", str), source.optional("text", str), source.object("s3Location")
    url = None if place is None else place.required("uri", str)
    if place is not None:
        place.finish()
    source.finish()
    return data, url, text
