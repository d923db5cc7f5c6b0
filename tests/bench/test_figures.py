"""The benchmark reads its figures right, and fails when a target does."""

import json

import pytest
from bench.load import Load
from bench.measured import Measured, Starts, Streams, percentile
from bench.payloads import LONG_BYTES, chat_answer, chat_request, stream_answer
from bench.plan import quick, whole
from bench.probe import Timing, content_length, join_chunks
from bench.report import table
from bench.stacks import AIOHTTP, BACKSTAY, DIRECT
from bench.streams import Stream, held_back
from bench.targets import check
from hypothesis import given
from hypothesis import strategies as st


def load(per_s: int) -> Load:
    return Load(requests=per_s, duration_us=1_000_000, p50_us=300, p99_us=900, broken=0, refused=0)


def timings(ms: float) -> list[Timing]:
    return [Timing(first_ns=int(ms * 0.9e6), last_ns=int(ms * 1e6))] * 100


def a_run(*, ours_per_s: tuple[int, ...] = (4000, 2000, 4400), ours_ms: float = 0.5, peak_mib: float = 300) -> Measured:
    """A run whose pass-through makes 8,000, 4,000 and 8,000 requests a second in its three rounds, 0.3 ms each."""
    levels = (1, 32, 128)
    return Measured(
        loads={
            DIRECT: {level: [load(30_000)] * 3 for level in levels},
            AIOHTTP: {level: [load(8000), load(4000), load(8000)] for level in levels},
            BACKSTAY: {level: [load(each) for each in ours_per_s] for level in levels},
        },
        short={DIRECT: timings(0.05), AIOHTTP: timings(0.3), BACKSTAY: timings(ours_ms)},
        long={DIRECT: timings(0.25), AIOHTTP: timings(1.5), BACKSTAY: timings(3)},
        streamed={DIRECT: timings(0.05), AIOHTTP: timings(0.4), BACKSTAY: timings(0.8)},
        streams=Streams(asked=1000, most_open=1000, complete=1000, peak_mib=peak_mib, held_back=0.0),
        starts=Starts(cold_s=4, warm_s=1, idle_mib=100, import_ms=30, help_ms=120),
        simulator_per_s=2000,
    )


def failed(measured: Measured) -> list[str]:
    return [each.name for each in check(measured) if not each.passed]


def test_ratio_is_of_rounds() -> None:
    """A round that was slow for both halves does not move the ratio: it is the median of the rounds' own ratios."""
    assert a_run().throughput_ratio(32) == 0.5
    assert a_run(ours_per_s=(3200, 1600, 3200)).throughput_ratio(32) == 0.4


def test_good_run_passes() -> None:
    """A run within every limit fails nothing."""
    assert failed(a_run()) == []


@pytest.mark.parametrize(
    ("measured", "names"),
    [
        (a_run(ours_per_s=(3000, 1500, 3000)), ["requests/s, 32 connections, over the pass-through's"]),
        (a_run(ours_ms=0.61), ["latency p50, 1 connection, over the pass-through's"]),
        (
            a_run(ours_ms=3.5),
            ["latency p50, 1 connection, over the pass-through's", "latency p99, 1 connection"],
        ),
        (a_run(peak_mib=500.5), ["worker's memory with all of them open"]),
    ],
)
def test_each_target_can_fail(measured: Measured, names: list[str]) -> None:
    """A figure beyond its limit fails its own target and no other."""
    assert failed(measured) == names


def test_table_names_what_failed() -> None:
    """The table has a line for every stack and for every target, and says which failed."""
    measured = a_run(peak_mib=600)
    lines = table(measured, check(measured)).splitlines()
    assert [line.split()[-1] for line in lines if "memory with all" in line] == ["FAIL"]
    assert sum(line.endswith("pass") for line in lines) == len(check(measured)) - 1
    assert all(any(line.strip().startswith(name) for line in lines) for name in measured.loads)


@given(st.lists(st.integers(0, 10**9), min_size=1), st.integers(0, 100))
def test_percentile_bounds_its_share(values: list[int], share: int) -> None:
    """A percentile is one of the values, and at least its share of them does not exceed it."""
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) * 100 >= share * len(values)
    assert sum(value < found for value in values) * 100 < max(share, 1) * len(values)


def test_percentile_needs_values() -> None:
    """There is no percentile of nothing."""
    with pytest.raises(ValueError, match="needs values"):
        percentile([], 50)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"http/1.1 200 ok\r\ncontent-length: 12\r\nx: y", 12),
        (b"http/1.1 200 ok\r\ntransfer-encoding: chunked", None),
        (b"http/1.1 200 ok\r\nx-content-length: 9", None),
    ],
)
def test_content_length(head: bytes, expected: int | None) -> None:
    """The length of a body is read from its own header only."""
    assert content_length(head) == expected


@given(st.lists(st.binary(min_size=1)))
def test_chunks_are_joined(pieces: list[bytes]) -> None:
    """What was sent in chunks is read as it was, whatever bytes it has."""
    framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    assert join_chunks(framed) == b"".join(pieces)


def test_requests_have_their_size() -> None:
    """The bodies are JSON, and as long as the targets say: 300 bytes and 400 KB."""
    short, long = chat_request("bench"), chat_request("bench", LONG_BYTES)
    assert json.loads(long)["model"] == "bench"
    assert 290 <= len(short) <= 330
    assert LONG_BYTES <= len(long) <= LONG_BYTES * 1.1


def test_stream_says_what_the_answer_says() -> None:
    """The streamed answer, put together, is the whole one."""
    events = [line.removeprefix(b"data: ") for line in stream_answer().split(b"\n\n") if line]
    assert events[-1] == b"[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    text = "".join(choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"])
    answer = json.loads(chat_answer())
    assert text.strip() == answer["choices"][0]["message"]["content"]
    assert chunks[-1]["usage"] == answer["usage"]


def test_held_back_tokens_are_seen() -> None:
    """Tokens that come at one moment, though they were sent half a second apart, count as held back."""
    steady = Stream(arrivals_s=[0.0, 0.5, 1.0, 1.5, 2.0], complete=True)
    bundled = Stream(arrivals_s=[0.0, 1.0, 1.0, 1.0, 2.0], complete=True)
    assert held_back([steady]) == 0.0
    assert held_back([steady, bundled]) == 2 / 8


def test_quick_run_measures_the_same() -> None:
    """A quick run differs from a whole one in how often it measures, not in what."""
    assert quick(peers=False).concurrencies == whole(peers=False).concurrencies
    assert quick(peers=False).streams == whole(peers=False).streams
