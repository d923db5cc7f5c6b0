"""Errors on the vendors' wires: each server's are understood, and ours raise the right class of the official SDKs."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate
from time import time
from typing import Any

import anthropic
import msgspec
import openai
import pytest
from aiohttp import web
from dialect_checks import check_openai_schema

from backstay.core.errors import (
    BackstayError,
    BudgetExhausted,
    BudgetUnavailable,
    Conflict,
    DeadlineExceeded,
    Draining,
    Forbidden,
    InvalidRequest,
    LoopDetected,
    MethodNotAllowed,
    NoCapableTarget,
    NotCached,
    NotFound,
    Overloaded,
    PreviousResponseNotFound,
    PriceUnknown,
    ProviderError,
    ProviderTimeout,
    ProviderUnreachable,
    ProviderUnreadable,
    RateLimited,
    RequestTooLarge,
    SpendingStopped,
    StoreUnavailable,
    TargetsUnavailable,
    Unauthenticated,
    UnknownModel,
    Untranslatable,
)
from backstay.providers import ANTHROPIC, OPENAI, Dialect
from backstay.providers.errors import read_retry_after


def _of(status: int, kind: str = "api_error") -> ProviderError:
    return ProviderError("It failed.", status=status, kind=kind)


ERRORS: list[tuple[BackstayError, type[Exception], type[Exception]]] = [
    (InvalidRequest(param="n"), openai.BadRequestError, anthropic.BadRequestError),
    (PreviousResponseNotFound(), openai.BadRequestError, anthropic.BadRequestError),
    (Untranslatable("seed: no.", param="seed"), openai.BadRequestError, anthropic.BadRequestError),
    (Unauthenticated(), openai.AuthenticationError, anthropic.AuthenticationError),
    (Forbidden(), openai.PermissionDeniedError, anthropic.PermissionDeniedError),
    (UnknownModel(param="model"), openai.NotFoundError, anthropic.NotFoundError),
    (NotFound(), openai.NotFoundError, anthropic.NotFoundError),
    (Conflict(), openai.ConflictError, anthropic.ConflictError),
    (MethodNotAllowed(), openai.APIStatusError, anthropic.APIStatusError),
    (RequestTooLarge(), openai.APIStatusError, anthropic.APIStatusError),
    (Overloaded(), openai.InternalServerError, anthropic.InternalServerError),
    (Draining(), openai.InternalServerError, anthropic.InternalServerError),
    (NoCapableTarget(), openai.BadRequestError, anthropic.BadRequestError),
    (LoopDetected(), openai.UnprocessableEntityError, anthropic.UnprocessableEntityError),
    (RateLimited(), openai.RateLimitError, anthropic.RateLimitError),
    (TargetsUnavailable(), openai.InternalServerError, anthropic.InternalServerError),
    (DeadlineExceeded(), openai.InternalServerError, anthropic.InternalServerError),
    (NotCached(), openai.InternalServerError, anthropic.InternalServerError),
    (StoreUnavailable(), openai.InternalServerError, anthropic.InternalServerError),
    (BackstayError(), openai.InternalServerError, anthropic.InternalServerError),
    (ProviderUnreachable(), openai.InternalServerError, anthropic.InternalServerError),
    (ProviderUnreadable(), openai.InternalServerError, anthropic.InternalServerError),
    (ProviderTimeout(), openai.InternalServerError, anthropic.InternalServerError),
    (_of(400, "context_length"), openai.BadRequestError, anthropic.BadRequestError),
    (_of(401, "authentication"), openai.AuthenticationError, anthropic.AuthenticationError),
    (BudgetExhausted(), openai.APIStatusError, anthropic.APIStatusError),
    (PriceUnknown(), openai.APIStatusError, anthropic.APIStatusError),
    (SpendingStopped(), openai.APIStatusError, anthropic.APIStatusError),
    (BudgetUnavailable(), openai.InternalServerError, anthropic.InternalServerError),
    (_of(403, "permission"), openai.PermissionDeniedError, anthropic.PermissionDeniedError),
    (_of(404, "not_found"), openai.NotFoundError, anthropic.NotFoundError),
    (_of(422, "invalid_request"), openai.UnprocessableEntityError, anthropic.UnprocessableEntityError),
    (_of(429, "rate_limit"), openai.RateLimitError, anthropic.RateLimitError),
    (_of(500), openai.InternalServerError, anthropic.InternalServerError),
    (_of(529, "overloaded"), openai.InternalServerError, anthropic.InternalServerError),
]
"""Every class of error that may reach a vendor's wire, and what its SDKs make of it."""


def test_every_error_is_covered() -> None:
    """A class that is added to the tree must be added here, unless it never goes over HTTP."""
    known = {type(error) for error, _, _ in ERRORS}
    everything: list[type[BackstayError]] = [BackstayError]
    for kind in everything:
        everything += kind.__subclasses__()
    theirs = {kind for kind in everything if kind.__module__ == "backstay.core.errors"}
    assert {kind.__name__ for kind in theirs - known} == {"ClientUnusable", "ConfigError"}


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def _serve(handler: Handler) -> AsyncGenerator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


def _answer_with(dialect: Dialect, error: BackstayError) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        status, headers, body = dialect.write_error(error, request_id="req_1")
        return web.Response(status=status, headers=headers, body=body, content_type="application/json")

    return answer


async def _ask_openai(url: str) -> None:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0) as client:
        stream = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "hi"}], stream=True
        )
        async for _ in stream:
            pass


async def _ask_anthropic(url: str) -> None:
    async with anthropic.AsyncAnthropic(base_url=url, api_key="k", max_retries=0) as client:
        stream = await client.messages.create(
            model="m", max_tokens=5, messages=[{"role": "user", "content": "hi"}], stream=True
        )
        async for _ in stream:
            pass


@pytest.mark.parametrize(("error", "expected", "_"), ERRORS, ids=lambda value: getattr(value, "code", ""))
async def test_the_openai_sdk_raises_its_own_class(error: BackstayError, expected: type[Exception], _: Any) -> None:
    """Status and body lead to the class that the SDK documents, with code, parameter and request id."""
    async with _serve(_answer_with(OPENAI, error)) as url:
        with pytest.raises(openai.APIStatusError) as raised:
            await _ask_openai(url)
    assert type(raised.value) is expected
    assert (raised.value.code, raised.value.param, raised.value.request_id) == (error.code, error.param, "req_1")
    check_openai_schema("ErrorResponse", raised.value.response.json())


@pytest.mark.parametrize(("error", "_", "expected"), ERRORS, ids=lambda value: getattr(value, "code", ""))
async def test_the_anthropic_sdk_raises_its_own_class(error: BackstayError, _: Any, expected: type[Exception]) -> None:
    """Status and body lead to the class that the SDK documents, with the request id."""
    async with _serve(_answer_with(ANTHROPIC, error)) as url:
        with pytest.raises(anthropic.APIStatusError) as raised:
            await _ask_anthropic(url)
    assert isinstance(raised.value, expected)
    assert raised.value.request_id == "req_1"
    body = raised.value.response.json()
    assert (body["type"], body["request_id"], body["error"]["message"]) == ("error", "req_1", error.message)


async def test_overload_is_529_on_anthropics_wire_only() -> None:
    """Anthropic has a status of its own for it; OpenAI's clients know 503."""
    for error in (Overloaded(), _of(529, "overloaded")):
        assert ANTHROPIC.write_error(error)[0] == 529
        assert OPENAI.write_error(error)[0] == 503


@pytest.mark.parametrize("retryable", [True, False])
async def test_the_sdks_obey_what_is_said_about_retries(retryable: bool) -> None:
    """`x-should-retry` decides, whatever the status."""
    seen: list[str] = []
    error = ProviderError("It failed.", status=500, retryable=retryable, retry_after_s=0.01)
    answer = _answer_with(OPENAI, error)

    async def count(request: web.Request) -> web.StreamResponse:
        seen.append(request.path)
        return await answer(request)

    async with _serve(count) as url:
        async with openai.AsyncOpenAI(base_url=url, api_key="k", max_retries=1) as client:
            with pytest.raises(openai.InternalServerError):
                await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
    assert len(seen) == (2 if retryable else 1)


@pytest.mark.parametrize(("dialect", "ask"), [(OPENAI, _ask_openai), (ANTHROPIC, _ask_anthropic)])
async def test_the_sdks_notice_an_error_inside_a_stream(
    dialect: Dialect, ask: Callable[[str], Awaitable[None]]
) -> None:
    """A stream that has begun can still fail, and the SDK raises."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(dialect.write_stream_error(ProviderUnreachable("It broke.")))
        return response

    async with _serve(answer) as url:
        with pytest.raises((openai.APIError, anthropic.APIError), match="It broke"):
            await ask(url)


OPENAI_ERRORS: list[tuple[int, Any, str, str | None, str | None]] = [
    (
        401,
        {"error": {"message": "Incorrect API key", "type": "invalid_request_error", "code": "invalid_api_key"}},
        "authentication",
        "invalid_api_key",
        "Incorrect API key",
    ),
    (400, {"error": {"message": "too long", "code": "context_length_exceeded"}}, "context_length", None, None),
    (
        400,
        {"object": "error", "message": "This model's maximum context length is 4096 tokens", "code": 400},
        "context_length",
        "400",
        None,
    ),  # vLLM
    (400, {"error": {"message": "filtered", "code": "content_filter"}}, "content_filter", None, None),  # Azure
    (429, {"error": {"message": "pay", "code": "insufficient_quota"}}, "quota", None, None),
    (429, {"error": {"message": "slow down", "type": "requests"}}, "rate_limit", "requests", None),
    (402, {"error": {"message": "Insufficient Balance"}}, "quota", None, None),  # DeepSeek
    (404, {"error": "model 'x' not found"}, "not_found", None, "model 'x' not found"),  # Ollama
    (422, {"detail": [{"loc": ["body", "x"], "msg": "bad"}]}, "invalid_request", None, None),  # FastAPI
    (422, {"object": "error", "message": {"detail": [{"msg": "bad"}]}}, "invalid_request", None, None),  # Mistral
    (498, {"error": {"message": "flex"}}, "overloaded", None, None),  # Groq
    (400, [{"error": {"code": 400, "message": "bad"}}], "invalid_request", "400", "bad"),  # Gemini
    (500, b"<html>oops</html>", "api_error", None, "<html>oops</html>"),
    (502, b"", "api_error", None, "The provider answered with an error and no message."),
    (503, b"\xff\xfe", "overloaded", None, None),
    (504, b"null", "timeout", None, None),
    (418, {"error": {}}, "invalid_request", None, None),
    (307, b"", "api_error", None, None),
]


@pytest.mark.parametrize(("status", "body", "kind", "code", "message"), OPENAI_ERRORS)
def test_openai_errors_are_read_from_every_server(
    status: int, body: Any, kind: str, code: str | None, message: str | None
) -> None:
    """Whatever the nesting, the kind of error is found."""
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    error = OPENAI.read_error(status, {}, raw)
    assert error.kind == kind
    assert error.status == (status if status >= 400 else 502)
    if code is not None:
        assert error.provider_code == code
    if message is not None:
        assert error.message == message


@pytest.mark.parametrize(
    ("status", "kind_on_wire", "message", "kind"),
    [
        (400, "invalid_request_error", "max_tokens: Field required", "invalid_request"),
        (400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum", "context_length"),
        (400, "invalid_request_error", "Your credit balance is too low", "quota"),
        (401, "authentication_error", "invalid x-api-key", "authentication"),
        (402, "billing_error", "pay", "quota"),
        (403, "permission_error", "no", "permission"),
        (404, "not_found_error", "model: x", "not_found"),
        (413, "request_too_large", "big", "invalid_request"),
        (429, "rate_limit_error", "slow down", "rate_limit"),
        (500, "api_error", "oops", "api_error"),
        (504, "timeout_error", "slow", "timeout"),
        (529, "overloaded_error", "Overloaded", "overloaded"),
    ],
)
def test_anthropic_errors_are_read(status: int, kind_on_wire: str, message: str, kind: str) -> None:
    """Each type of Anthropic's errors has its kind."""
    body = msgspec.json.encode({"type": "error", "error": {"type": kind_on_wire, "message": message}})
    error = ANTHROPIC.read_error(status, {}, body)
    assert (error.kind, error.message, error.provider_code) == (kind, message, kind_on_wire)
    assert error.retryable == (kind in ("rate_limit", "api_error", "timeout", "overloaded"))


def test_a_reached_spend_limit_is_no_rate_limit() -> None:
    """Anthropic says 429 for both; only one of them goes away by waiting."""
    details = {"error_code": "enforced_spend_limit_reached"}
    error = {"type": "rate_limit_error", "message": "no more", "details": details}
    read = ANTHROPIC.read_error(429, {}, msgspec.json.encode({"type": "error", "error": error}))
    assert (read.kind, read.retryable) == ("quota", False)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 501])
def test_mistakes_are_not_worth_another_try(status: int) -> None:
    """The same request would fail again."""
    assert OPENAI.read_error(status, {}, b"{}").retryable is False


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
def test_mishaps_are_worth_another_try(status: int) -> None:
    """The same request may succeed later, unless the provider says that it will not."""
    assert OPENAI.read_error(status, {}, b"{}").retryable is True
    assert OPENAI.read_error(status, {"x-should-retry": "false"}, b"{}").retryable is False


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "3"}, 0.25),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "Mon, 01 Jan 2024 00:00:00 GMT"}, 0.0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m30s"}, 90.0),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "20ms"}, 0.02),
        ({"x-ratelimit-remaining-tokens": "5", "x-ratelimit-reset-tokens": "20ms"}, None),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "59m3.5s"}, 3543.5),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "30h"}, 3600.0),
        ({"retry-after": "99999999999999999999"}, 3600.0),
        ({"retry-after": "1e999"}, 3600.0),
        ({"retry-after-ms": "1e308"}, 3600.0),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, 3600.0),
        ({}, None),
    ],
)
def test_waits_are_read_in_every_form(headers: dict[str, str], wait_s: float | None) -> None:
    """Seconds, milliseconds, a date, or a limit's reset; nonsense is no wait, and nobody is left alone for ever."""
    assert read_retry_after(headers) == (None if wait_s is None else pytest.approx(wait_s))


def test_a_date_to_wait_for_is_read() -> None:
    """An HTTP date in the future is that many seconds away."""
    for date in (formatdate(time() + 30, usegmt=True), formatdate(time() + 30)):
        wait = read_retry_after({"retry-after": date})
        assert wait is not None
        assert 28 <= wait <= 31


def test_waits_are_handed_on() -> None:
    """A caller is told to wait as long as the provider wants, in whole seconds and in milliseconds."""
    error = ProviderError("x", status=429, kind="rate_limit", retryable=True, retry_after_s=1.2)
    headers = OPENAI.write_error(error)[1]
    assert headers == {"x-should-retry": "true", "retry-after": "2", "retry-after-ms": "1200"}


@pytest.mark.parametrize("dialect", [OPENAI, ANTHROPIC])
def test_keys_in_error_texts_are_cut_out(dialect: Dialect) -> None:
    """A provider that repeats a key in its error does not get it past us."""
    key = "sk-ant-api03-AbCdEf123456"
    body = msgspec.json.encode({"error": {"message": f"Incorrect API key provided: {key}.", "type": "x"}})
    error = dialect.read_error(401, {}, body)
    assert key not in error.message
    assert key not in dialect.write_error(error)[2].decode()


@pytest.mark.parametrize("dialect", [OPENAI, ANTHROPIC])
def test_long_error_texts_are_cut(dialect: Dialect) -> None:
    """A page of HTML does not flood logs."""
    assert len(dialect.read_error(500, {}, b"x" * 100_000).message) < 2100
