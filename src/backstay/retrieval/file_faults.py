"""Owns what people are told of files that cannot be read: what is wrong with this one, and what to do."""

from collections.abc import Mapping

_PDF, _ZIP, _OLE, _RTF = b"%PDF", b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"{\\rtf"

_OFFICE = frozenset({".docx", ".pptx", ".xlsx", ".odt", ".epub"})
_KINDS: Mapping[bytes, str] = {
    _PDF: "a PDF",
    _ZIP: "an archive or an office file",
    _OLE: "an old or encrypted office file",
    _RTF: "RTF",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"GIF87a": "a picture",
    b"GIF89a": "a picture",
    b"\x1f\x8b": "an archive",
    b"<html": "HTML",
    b"<!doc": "HTML",
}
"""By how a file begins. Source: the formats' signatures (Library of Congress, sustainability of digital formats)."""
_BEGUN_LIKE_NO_TEXT = _OFFICE | {".pdf", ".rtf"}
_PASSING_AS_TEXT = frozenset({_KINDS[_PDF], _KINDS[_RTF]})
"""What could be taken for text in some encoding: all other kinds have bytes that no text has."""
_PDF_HEAD_BYTES = 1024
"""Where a PDF's mark may stand. Source: ISO 32000-1, annex H.3."""
HEAD_BYTES = _PDF_HEAD_BYTES


def fault_by_content(name: str, suffix: str, head: bytes) -> str | None:
    """Say why a file cannot be what its name says, by how it begins; ``None``: it may be."""
    if suffix == ".pdf" and _PDF in head:
        return None
    if suffix in _OFFICE and head.startswith(_ZIP):
        return None
    if suffix in _OFFICE and head.startswith(_OLE):
        return (
            f"{name} is encrypted, or of the office format before 2007. Save it as {suffix} without a password, and "
            "ingest that."
        )
    if suffix == ".rtf" and head.startswith(_RTF):
        return None
    is_a = _kind(head)
    if suffix not in _BEGUN_LIKE_NO_TEXT:
        if is_a not in _PASSING_AS_TEXT:
            return None
        return f"{name} is {is_a} by its content. Rename it by what it is, and ingest it again."
    told = f"by its content it is {is_a}. Rename it by what it is" if is_a else "it does not begin like one. Check it"
    return f"{name} is not a {suffix} file: {told}, and ingest it again."


def _kind(head: bytes) -> str | None:
    lowered = head[:16].lstrip().lower()
    return next((kind for mark, kind in _KINDS.items() if head.startswith(mark) or lowered.startswith(mark)), None)


def fault_by_report(name: str, report: str) -> str:
    """Turn what a library said of a file into a sentence for people. Source: kreuzberg 4.10's messages (2026-11)."""
    told = report.lower()
    if "more memory" in told:
        return f"{name} needs more memory to be read than it may have. Split it, or save it in another format."
    if "password" in told or "encrypt" in told:
        return f"{name} is encrypted. Save it without a password, and ingest that."
    if "security limit" in told or "decompression" in told or "exceeds limit" in told:
        return f"{name} unpacks to far more than it may, as archives do that are made to harm. It is left out."
    if "formaterror" in told or "invalid pdf" in told:
        return f"{name} is damaged, or was cut off: no PDF reader finds its pages. Get a whole copy, and ingest that."
    if "zip error" in told or "eocd" in told or "invalid zip" in told:
        return f"{name} is damaged, or was cut off. Get a whole copy, and ingest that."
    if "required file not found" in told:
        return f"{name} is an archive, but no office document. Check what it is, and name it so."
    return f"{name} cannot be read: {_plain(report)}"


def too_long(name: str, most_chars: int) -> str:
    """Say that a file has more text than a document may have."""
    return f"{name} has more than {most_chars:,} characters of text, the most of one document. Split it."


def no_text(name: str, pages: int) -> str:
    """Say that a file has none."""
    if pages and name.lower().endswith(".pdf"):
        number = "Its page is a picture" if pages == 1 else f"Its {pages} pages are pictures"
        return (
            f"{name} has no text. {number}, and pictures are not read here: put it through OCR (as `ocrmypdf` does), "
            "and ingest the result."
        )
    return f"{name} has no text in it."


def _plain(report: str) -> str:
    """Take the names of errors, and repetitions, off what a library said."""
    parts = [part.strip() for part in report.split(":")]
    kept = [part for part in dict.fromkeys(parts) if part and not part.endswith("Error")]
    return (": ".join(kept) or "it is not in order")[:300].rstrip(".") + "."
