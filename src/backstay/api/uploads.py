"""Owns the reading of an upload: a multipart form with one file, passed on piece by piece, never held whole."""

from collections.abc import AsyncIterator, Awaitable, Callable

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from backstay.core.errors import InvalidRequest

_MOST_FIELD_BYTES = 4096
_MOST_FIELDS = 20

WriteFile = Callable[[bytes], Awaitable[None]]


class Upload:
    """One form, as it is read: its fields, and its file's name."""

    def __init__(self, content_type: str):
        """Expect a form. Raises ``InvalidRequest`` if the content type is another."""
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise InvalidRequest("Send the file as multipart/form-data, with the fields `file` and `purpose`.")
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        """``None`` until the file has begun."""
        self.is_whole = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers,
                "on_part_data": self._on_data,
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
        )
        self._header = (b"", b"")
        self._disposition = b""
        self._name = ""
        self._is_file = False
        self._value = b""
        self._pieces: list[bytes] = []

    async def read(self, body: AsyncIterator[bytes], write_file: WriteFile) -> None:
        """Read the form; ``write_file`` is given the file's pieces as they come.

        Raises:
            InvalidRequest: It is no such form, or ends early.
        """
        async for piece in body:
            if piece:
                try:
                    self._parser.write(piece)
                except FormParserError as error:
                    raise InvalidRequest(f"The body is not a valid multipart form: {error}.") from None
            pieces, self._pieces = self._pieces, []
            for part in pieces:
                await write_file(part)
        if not self.is_whole:
            raise InvalidRequest("The multipart form ends before its last boundary.")

    def _begin_part(self) -> None:
        self._header, self._disposition, self._value = (b"", b""), b"", b""
        self._is_file = False

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header = (self._header[0] + data[start:end], self._header[1])

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header = (self._header[0], self._header[1] + data[start:end])

    def _on_header_end(self) -> None:
        name, value = self._header
        if name.lower() == b"content-disposition":
            self._disposition = value
        self._header = (b"", b"")

    def _on_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        if self._name == "file":
            if self.filename is not None:
                raise InvalidRequest("One file at a time.", param="file")
            self.filename = options.get(b"filename", b"file").decode("utf-8", "replace").replace("\0", "") or "file"
            self._is_file = True
        elif len(self.fields) >= _MOST_FIELDS:
            raise InvalidRequest("The form has too many fields.")

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._pieces.append(data[start:end])
            return
        self._value += data[start:end]
        if len(self._value) > _MOST_FIELD_BYTES:
            raise InvalidRequest(f"The field `{self._name}` is too long.", param=self._name)

    def _end_part(self) -> None:
        if not self._is_file:
            self.fields[self._name] = self._value.decode("utf-8", "replace")

    def _end(self) -> None:
        self.is_whole = True
