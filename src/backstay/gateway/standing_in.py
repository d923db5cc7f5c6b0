"""Owns what stands in for an answer when no target gives one: an expired answer, a fixed message."""

from backstay.core.chat import ChatResponse, Choice, Finished, Started, Text, TextDelta, UsageReported
from backstay.core.usage import Usage
from backstay.gateway.attempt import Answer, Call, neutral_request
from backstay.gateway.recall import read_hit
from backstay.gateway.stream import Piece

_NOTHING_USED = Usage(input_tokens=0, output_tokens=0)


async def stale_answer(call: Call) -> Answer | None:
    """Give the answer to an equal request, though it has expired; ``None`` where none is kept."""
    hit = await call.lead.find_stale() if call.lead is not None else None
    if hit is None:
        return None
    recording = call.recording
    body, stream = read_hit(recording, hit)
    recording.hit, recording.output, recording.degraded = hit, body, "cache_stale"
    if stream is None:
        return Answer(body=body)
    return Answer(is_stream=True, held=[Piece(stream, has_content=True, last=True)])


def fixed_answer(call: Call, message: str) -> Answer:
    """Write a message as the caller's dialect has answers, whole or as a stream."""
    name, answer_id = call.request.model.name, f"backstay-{call.recording.call_id}"
    created_s = call.recording.at_ns // 1_000_000_000
    if not call.request.stream:
        choice = Choice(index=0, parts=(Text(text=message),), finish_reason="stop")
        response = ChatResponse(id=answer_id, model=name, created_s=created_s, choices=(choice,), usage=_NOTHING_USED)
        return Answer(body=call.incoming.dialect.write_response(response))
    writer = call.incoming.dialect.stream_writer(neutral_request(call))
    call.recording.said = [
        Started(id=answer_id, model=name, created_s=created_s, usage=_NOTHING_USED),
        TextDelta(text=message),
        Finished(reason="stop"),
        UsageReported(usage=_NOTHING_USED),
    ]
    data = b"".join([writer.write(event) for event in call.recording.said]) + writer.end()
    return Answer(is_stream=True, held=[Piece(data, has_content=True, last=True)])
