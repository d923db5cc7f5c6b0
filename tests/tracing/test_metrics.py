"""Metrics: what is observed is shown, for all workers together, without loss when one is replaced, at little cost."""

import asyncio
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from trace_shipping import call

from backstay.core.money import NanoUSD
from backstay.tracing import CallMetrics, Span

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def _finished(**fields: Any) -> Span:
    defaults: dict[str, Any] = {
        "duration_ns": 300_000_000,
        "first_token_ns": 50_000_000,
        "input_tokens": 20,
        "output_tokens": 5,
        "cost_nanousd": NanoUSD(1_500_000),
    }
    return call(NOON, **{**defaults, **fields})


def _value(metrics: CallMetrics, name: str, **labels: str) -> float | None:
    """Read one sample as Prometheus would; labels not given may be anything."""
    found = [
        sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    assert len(found) <= 1, f"{name} {labels} is not one sample"
    return found[0] if found else None


def test_an_observed_call_is_shown(tmp_path: Path):
    """Count, cost, duration, tokens and time to the first token stand under the conventions' names."""
    metrics = CallMetrics(tmp_path, "0")
    metrics.observe(_finished())
    assert _value(metrics, "backstay_calls_total", model="fast", target="acme/gpt", status="ok") == 1
    assert _value(metrics, "backstay_cost_usd_total", model="fast", target="acme/gpt") == 0.0015
    assert _value(metrics, "backstay_unknown_cost_calls_total") == 0
    duration = "gen_ai_client_operation_duration_seconds"
    assert _value(metrics, f"{duration}_sum", gen_ai_request_model="fast", error_type="") == pytest.approx(0.3)
    assert _value(metrics, f"{duration}_bucket", le="0.16") == 0
    assert _value(metrics, f"{duration}_bucket", le="0.32") == 1
    assert _value(metrics, f"{duration}_bucket", le="+Inf") == 1
    assert _value(metrics, "gen_ai_server_time_to_first_token_seconds_bucket", le="0.06") == 1
    assert _value(metrics, "gen_ai_server_time_to_first_token_seconds_bucket", le="0.04") == 0
    assert _value(metrics, "gen_ai_client_token_usage_sum", gen_ai_token_type="input") == 20
    assert _value(metrics, "gen_ai_client_token_usage_bucket", gen_ai_token_type="output", le="4") == 0
    assert _value(metrics, "gen_ai_client_token_usage_bucket", gen_ai_token_type="output", le="16") == 1


def test_a_value_on_a_bound_is_in_its_bucket(tmp_path: Path):
    """Prometheus' bounds are inclusive."""
    metrics = CallMetrics(tmp_path, "0")
    metrics.observe(_finished(output_tokens=16))
    assert _value(metrics, "gen_ai_client_token_usage_bucket", gen_ai_token_type="output", le="16") == 1
    assert _value(metrics, "gen_ai_client_token_usage_bucket", gen_ai_token_type="output", le="4") == 0


def test_what_is_not_known_is_not_counted_as_zero(tmp_path: Path):
    """A call without usage, first token or cost adds to its count and duration only."""
    metrics = CallMetrics(tmp_path, "0")
    metrics.observe(
        _finished(
            status="error",
            error_code="provider_timeout",
            target=None,
            first_token_ns=None,
            input_tokens=None,
            output_tokens=None,
            cost_nanousd=None,
        )
    )
    assert _value(metrics, "backstay_calls_total", status="error", target="") == 1
    assert _value(metrics, "backstay_unknown_cost_calls_total", target="") == 1
    assert _value(metrics, "gen_ai_client_operation_duration_seconds_count", error_type="provider_timeout") == 1
    assert _value(metrics, "gen_ai_client_token_usage_count") is None
    assert _value(metrics, "gen_ai_server_time_to_first_token_seconds_count") is None


def test_a_process_that_is_no_worker_shows_values_and_counts_as_none(tmp_path: Path):
    """What ships the journals has values of its own, which are added to the workers'."""
    shipping = CallMetrics(tmp_path, "shipping", is_worker=False)
    shipping.add_gauge("backstay_journal_backlog_bytes", "Journal.", lambda: 5)
    shipping.add_gauge("backstay_target_drained", "Out of use.", lambda: True)
    shipping.flush()
    worker = CallMetrics(tmp_path, "0")
    worker.add_gauge("backstay_journal_backlog_bytes", "Journal.", lambda: 2)
    assert _value(worker, "backstay_journal_backlog_bytes") == 7
    assert _value(worker, "backstay_target_drained") == 1
    assert _value(worker, "backstay_workers") == 1


def test_all_workers_are_shown_by_each(tmp_path: Path):
    """What another process observed is in this one's text, gauges of live workers added up, those of dead ones gone."""
    program = (
        "import sys; from pathlib import Path; from backstay.tracing import CallMetrics, Span;"
        "metrics = CallMetrics(Path(sys.argv[1]), '1'); metrics.add_gauge('backstay_in_flight', 'Calls.', lambda: 2);"
        "metrics.observe(Span(span_id='a', trace_id='b', kind='call', name='chat', started_at_ns=1, duration_ns=1,"
        " status='ok', operation='chat', model='fast', target='acme/gpt', cost_nanousd=1000)); metrics.flush();"
        "print(flush=True); sys.stdin.read()"
    )
    metrics = CallMetrics(tmp_path, "0")
    metrics.add_gauge("backstay_in_flight", "Calls.", lambda: 3)
    metrics.add_counter("backstay_shipped_total", "Calls shipped.", lambda: 7)
    metrics.observe(_finished())
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert _value(metrics, "backstay_calls_total", status="ok") == 2
        assert _value(metrics, "backstay_workers") == 2
        assert _value(metrics, "backstay_in_flight") == 5
        assert _value(metrics, "backstay_shipped_total") == 7
        other.communicate()
    assert _value(metrics, "backstay_calls_total", status="ok") == 2
    assert _value(metrics, "backstay_workers") == 1
    assert _value(metrics, "backstay_in_flight") == 3


def test_a_worker_goes_on_from_its_predecessors_counts(tmp_path: Path):
    """Counters do not fall when a worker is replaced, and a damaged file costs no more than its counts."""
    first = CallMetrics(tmp_path, "0")
    first.observe(_finished(error_code="x", operation=None))
    first.flush()
    second = CallMetrics(tmp_path, "0")
    second.observe(_finished(error_code="x", operation=None))
    assert _value(second, "backstay_calls_total", status="ok") == 2
    (tmp_path / "0.metrics").write_bytes(b"\xff\x00")
    (tmp_path / "1.metrics").write_bytes(b"")
    third = CallMetrics(tmp_path, "0")
    third.observe(_finished())
    assert _value(third, "backstay_calls_total", status="ok") == 1


def test_names_that_callers_invent_do_not_grow_the_metrics_without_bound(tmp_path: Path):
    """Past 256 label sets, more of them count together as ``other``, by their status."""
    metrics = CallMetrics(tmp_path, "0")
    for number in range(300):
        metrics.observe(_finished(model=f"invented {number}"))
    assert _value(metrics, "backstay_calls_total", model="other", target="other", status="ok") == 300 - 256
    assert len(metrics.render()) < 4_000_000


def test_counters_go_on_and_gauges_begin_anew(tmp_path: Path):
    """Labels are known when they are shown; a successor's counts add to those before, also of what it never counted."""
    first, second = CallMetrics(tmp_path, "0"), None
    tries = {"acme/a": 3, "acme/b": 5}
    for metrics in (first, first):
        metrics.add_family("x_tries_total", "Tries.", "counter", lambda: [({"target": t}, n) for t, n in tries.items()])
    first.add_family("x_open", "Open.", "gauge", lambda: [({"target": t}, 1) for t in tries])
    first.flush()
    assert _value(first, "x_tries_total", target="acme/a") == 6  # two families of one name are added up
    second = CallMetrics(tmp_path, "0")
    second.add_family("x_tries_total", "Tries.", "counter", lambda: [({"target": "acme/b"}, 1), ({"target": "c"}, 2)])
    assert [_value(second, "x_tries_total", target=each) for each in ("acme/a", "acme/b", "c")] == [6, 11, 2]
    assert b"x_open" not in second.render()
    second.flush()
    second.flush()
    assert _value(CallMetrics(tmp_path, "0"), "x_tries_total", target="acme/b") == 11


def test_targets_that_callers_invent_do_not_grow_the_metrics_without_bound(tmp_path: Path):
    """Past a thousand label sets of one family, counts are of ``other`` and gauges are left out."""
    metrics = CallMetrics(tmp_path, "0")
    metrics.add_family("x_total", "X.", "counter", lambda: [({"target": str(n)}, 1) for n in range(1500)])
    metrics.add_family("x_open", "X.", "gauge", lambda: [({"target": str(n)}, 1) for n in range(1500)])
    assert _value(metrics, "x_total", target="other") == 500
    assert metrics.render().count(b"\nx_open{") == 1000


def test_degraded_answers_are_counted_by_what_stood_in(tmp_path: Path):
    """By model, and by message or target; they are calls too."""
    metrics = CallMetrics(tmp_path, "0")
    metrics.observe(_finished(attributes={"backstay.degraded": "message"}))
    metrics.observe(_finished())
    assert _value(metrics, "backstay_degraded_total", model="fast", by="message") == 1


def test_label_values_are_escaped(tmp_path: Path):
    """A model's name with quotes and line breaks does not break the text."""
    metrics = CallMetrics(tmp_path, "0")
    metrics.observe(_finished(model='a"b\n\\c'))
    assert _value(metrics, "backstay_calls_total", model='a"b\n\\c') == 1


async def test_the_file_is_written_while_the_worker_runs(tmp_path: Path):
    """Another worker sees this one's counts within a second or so, without being asked for its own."""
    metrics, other = CallMetrics(tmp_path, "0"), CallMetrics(tmp_path, "1")
    task = asyncio.create_task(metrics.run())
    metrics.observe(_finished())
    async with asyncio.timeout(5):
        while _value(other, "backstay_calls_total", status="ok") != 1:  # noqa: ASYNC110 - it is a file that is waited for
            await asyncio.sleep(0.05)
    task.cancel()
    assert isinstance((await asyncio.gather(task, return_exceptions=True))[0], asyncio.CancelledError)


def test_nothing_is_written_while_nothing_changes(tmp_path: Path):
    """An idle worker leaves its file alone."""
    metrics = CallMetrics(tmp_path, "0")
    metrics.flush()
    os.utime(tmp_path / "0.metrics", (1, 1))
    metrics.flush()
    assert (tmp_path / "0.metrics").stat().st_mtime == 1
