"""Owns what a caller has seen of a stream that its provider wrote: where it stands, should another have to go on."""

import msgspec

from backstay.providers.responses import wire


class _Done(msgspec.Struct):
    item: msgspec.Raw


class Passed:
    """The items of a stream, as far as they came."""

    def __init__(self) -> None:
        self.events = 0
        """How many neutral events it came to."""
        self.sequence = 0
        """The next event's number."""
        self.items: dict[int, bytes] = {}
        """The finished items, by their place."""
        self.count = 0
        self.open: wire.Item | None = None
        """The message or reasoning that has begun and not ended."""
        self.open_index = 0
        self.texts: list[list[str]] = []
        """Of the open item: its parts, each in pieces."""
        self.is_part_open = False

    def has_all(self, *, may_call: bool) -> bool:
        """Whether the answer is known to be whole: a last message is, and only the end of the stream is missing.

        Args:
            may_call: Whether the model may call tools. Then a call may follow any message that does not say otherwise.
        """
        last = self.count - 1
        if self.open is not None:
            is_told = self.open_index == last and bool(self.texts) and not self.is_part_open
            return is_told and self.open.type == "message" and len(self.items) == last and not may_call
        if last < 0 or len(self.items) <= last:
            return False
        item = msgspec.json.decode(self.items[last], type=wire.Item)
        is_whole = item.type == "message" and item.status in (None, "completed")
        return is_whole and (item.phase == "final_answer" or (item.phase is None and not may_call))

    def note(self, event: wire.Event, data: bytes) -> None:
        """Note one event, whose JSON text is ``data``."""
        if event.sequence_number is not None:
            self.sequence = event.sequence_number + 1
        match event.type:
            case "response.output_item.added" if event.item is not None:
                self.count = max(self.count, event.output_index + 1)
                if event.item.type in ("message", "reasoning"):
                    self.open, self.open_index = event.item, event.output_index
                    self.texts, self.is_part_open = [], False
            case "response.output_item.done":
                self.items[event.output_index] = bytes(msgspec.json.decode(data, type=_Done).item)
                self.count = max(self.count, event.output_index + 1)
                if event.output_index == self.open_index:
                    self.open = None
            case (
                "response.output_text.delta" | "response.reasoning_summary_text.delta" | "response.reasoning_text.delta"
            ) if self.open is not None:
                if not self.is_part_open:
                    self.texts.append([])
                    self.is_part_open = True
                self.texts[-1].append(str(event.delta or ""))
            case "response.output_text.done" | "response.reasoning_summary_text.done" | "response.reasoning_text.done":
                self.is_part_open = False
            case _:
                pass
