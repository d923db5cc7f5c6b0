"""Owns what comes in with a POST: whether it was sent from our own page, and its fields."""

import hmac
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request

from backstay.core.errors import Forbidden, InvalidRequest, RequestTooLarge

_MOST_BYTES = 64 * 1024
_MOST_FIELDS = 200


async def read_form(request: Request) -> dict[str, str]:
    """Read the fields of a form, stripped of blanks at their ends; a repeated field's values are joined by commas.

    Raises:
        InvalidRequest: The body is no form.
        RequestTooLarge: It is longer than any form of ours.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise InvalidRequest("Send the page's own form.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_BYTES:
            raise RequestTooLarge("This form is too large. Shorten its texts.")
    try:
        pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError as error:
        raise InvalidRequest("The form cannot be read: it is not UTF-8, or has too many fields.") from error
    fields: dict[str, str] = {}
    for name, value in pairs:
        fields[name] = f"{fields[name]},{value.strip()}" if name in fields else value.strip()
    return fields


def check_origin(request: Request) -> None:
    """Refuse a POST that another site's page sent. Browsers always tell; other clients have no cookies to abuse.

    Raises:
        Forbidden: It came from elsewhere.
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None:
        allowed = site in ("same-origin", "none")
    else:
        allowed = origin is None or urlsplit(origin).netloc == request.headers.get("host", "")
    if not allowed:
        raise Forbidden("This was sent from another site's page. Open the console and do it there.")


def check_token(form: Mapping[str, str], expected: str) -> None:
    """Refuse a form without the token that our page put into it.

    Raises:
        Forbidden: The token is missing or belongs to another session.
    """
    if not expected or not hmac.compare_digest(form.get("csrf", "").encode(), expected.encode()):
        raise Forbidden("This form is from an earlier session. Go back, reload the page and send it again.")


def safe_path(text: str | None) -> str:
    """Return a path on this site to go on to; the overview where the text is anything else.

    Browsers read ``//host`` and ``/\\host`` as another site, and drop control characters before they do.
    """
    if not text or not text.startswith("/") or text.startswith(("//", "/\\")) or not text.isprintable():
        return "/"
    return "/" if "\\" in text or text.startswith("/log") else text
