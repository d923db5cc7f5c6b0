"""Owns the tree of errors.

BackstayError
├── InvalidRequest                400  the caller's request cannot be understood
│   ├── UnknownModel              404
│   ├── PreviousResponseNotFound  400  a conversation that cannot be gone on with
│   ├── Untranslatable            400  the target's dialect cannot say it
│   ├── NoCapableTarget           400  no target of the model can do what the request asks
│   ├── MethodNotAllowed          405
│   └── RequestTooLarge           413
├── Unauthenticated               401  no key, or one that is unknown, expired or revoked
├── Forbidden                     403  the key or person may not do this
├── NotFound                      404
├── Conflict                      409
├── LoopDetected                  422  the key repeats nearly the same call again and again
├── RateLimited                   429  a limit of the caller is used up
├── BudgetExhausted               402  a budget of the caller cannot cover the call
│   ├── PriceUnknown              402  a hard budget counts the call, and nobody knows its price
│   └── SpendingStopped           402  somebody has stopped all spending of the scope
├── Overloaded                    503  this worker cannot take the call now
│   ├── Draining                  503
│   ├── StoreUnavailable          503  Postgres is needed for this and does not answer
│   ├── BudgetUnavailable         503  what is left of a budget is not known, as Postgres does not answer
│   └── TargetsUnavailable        503  every target of the model is left alone now
├── DeadlineExceeded              504  the caller's deadline, or the model's, is over
├── NotCached                     504  only a kept answer was wanted, and there is none
├── ProviderError                 varies: the provider's answer is an error
│   ├── ProviderUnreachable       502
│   └── ProviderTimeout           504
├── ClientUnusable                     an in-process client is closed, forked or in another loop (never over HTTP)
└── ConfigError                        a file or setting is wrong (never over HTTP)

Each class has a stable ``code``, an HTTP ``status`` and ``retryable``. Errors carry data; they never log.
"""

from typing import ClassVar


class BackstayError(Exception):
    """Something went wrong inside Backstay. See the worker's log."""

    code: ClassVar[str] = "internal_error"
    status: int = 500
    retryable: bool = False

    def __init__(self, message: str | None = None, *, param: str | None = None, retry_after_s: float | None = None):
        self.message = message or (type(self).__doc__ or "").partition("\n")[0]
        self.param = param
        """The request's field that is wrong, as a path such as ``messages[2].content``."""
        self.retry_after_s = retry_after_s
        super().__init__(self.message)


class InvalidRequest(BackstayError):
    """The request is not valid. Fix the named field and send it again."""

    code = "invalid_request"
    status = 400


class UnknownModel(InvalidRequest):
    """No such model. `GET /v1/models` lists those that this key may use."""

    code = "model_not_found"
    status = 404


class PreviousResponseNotFound(InvalidRequest):
    """There is no such response to go on from: it expired, was deleted, or is somebody else's. Send the whole input."""

    code = "previous_response_not_found"


class Untranslatable(InvalidRequest):
    """The target speaks another dialect, which has no form for this field. Leave it out or choose another model."""

    code = "untranslatable"


class NoCapableTarget(InvalidRequest):
    """No target of this model can do what the request asks. Choose another model, or ask for less."""

    code = "no_capable_target"


class MethodNotAllowed(InvalidRequest):
    """This path is not called with that method. `allow` names those that it takes."""

    code = "method_not_allowed"
    status = 405


class RequestTooLarge(InvalidRequest):
    """The request's body is larger than this server takes. Send less, or raise BACKSTAY_MAX_BODY_BYTES."""

    code = "request_too_large"
    status = 413


class Unauthenticated(BackstayError):
    """A valid key is needed. Send it as `Authorization: Bearer bs_…`; `backstay keys create` makes one."""

    code = "invalid_api_key"
    status = 401


class Forbidden(BackstayError):
    """This key may not do that. Ask an admin of the tenant for a key with the right."""

    code = "forbidden"
    status = 403


class NotFound(BackstayError):
    """There is no such thing, or it belongs to somebody else."""

    code = "not_found"
    status = 404


class Conflict(BackstayError):
    """It is there already, or it changed meanwhile."""

    code = "conflict"
    status = 409


class RateLimited(BackstayError):
    """A limit of the key, user, tenant or feature is used up. Try again after `retry-after`, or ask for more."""

    code = "rate_limited"
    status = 429
    retryable = True


class LoopDetected(BackstayError):
    """This key repeats nearly the same request again and again. Stop repeating it, or raise `repeats` under [loops]."""

    code = "loop_detected"
    status = 422


class BudgetExhausted(BackstayError):
    """A budget cannot cover this call. Ask for less output, choose a cheaper model, or have the budget raised."""

    code = "budget_exhausted"
    status = 402
    is_elsewhere_cheaper: bool = False
    """Whether a cheaper target of the model may be asked in its place."""


class PriceUnknown(BudgetExhausted):
    """The price of this model is not known, and a hard budget counts the call. Give it a price under [prices]."""

    code = "price_unknown"
    is_elsewhere_cheaper = True


class SpendingStopped(BudgetExhausted):
    """All spending of this scope was stopped. Ask an admin of the tenant to resume it."""

    code = "spending_stopped"


class Overloaded(BackstayError):
    """This worker has no room for the call now. Try again shortly."""

    code = "overloaded"
    status = 503
    retryable = True


class Draining(Overloaded):
    """This worker is shutting down and takes no new calls. Try again: another one will answer."""

    code = "draining"


class StoreUnavailable(Overloaded):
    """Postgres does not answer, and this needs it. Calls with known keys go on; try this again shortly."""

    code = "store_unavailable"


class BudgetUnavailable(Overloaded):
    """What is left of a budget is not known, as Postgres does not answer. Try this again shortly."""

    code = "budget_unavailable"


class TargetsUnavailable(Overloaded):
    """Every target of this model is down, over its limits or drained. Try again shortly."""

    code = "targets_unavailable"


class DeadlineExceeded(BackstayError):
    """The time for this call is over before a target has answered. Allow more, or ask for less."""

    code = "deadline_exceeded"
    status = 504


class NotCached(BackstayError):
    """No answer is kept for this request, and `cache-control: only-if-cached` forbids asking the model."""

    code = "not_cached"
    status = 504


class ProviderError(BackstayError):
    """The provider answered with an error."""

    code = "provider_error"
    status = 502

    def __init__(
        self,
        message: str | None = None,
        *,
        status: int = 502,
        kind: str = "api_error",
        provider_code: str | None = None,
        param: str | None = None,
        retryable: bool = False,
        retry_after_s: float | None = None,
    ):
        super().__init__(message, param=param, retry_after_s=retry_after_s)
        self.status = status
        self.retryable = retryable
        self.kind = kind
        """One of: invalid_request, authentication, permission, not_found, rate_limit, overloaded, timeout, api_error,
        content_filter, context_length, quota."""
        self.provider_code = provider_code
        """The provider's own error code or type, if it gave one."""


class ProviderUnreachable(ProviderError):
    """The provider could not be reached, or the connection broke."""

    code = "provider_unreachable"

    def __init__(self, message: str | None = None):
        super().__init__(message, status=502, kind="api_error", retryable=True)


class ProviderUnreadable(ProviderError):
    """The provider's answer came and cannot be read. Another try may bring a good one."""

    def __init__(self, message: str | None = None, *, retryable: bool = True):
        super().__init__(message, retryable=retryable)


class ProviderTimeout(ProviderError):
    """The provider did not answer in time."""

    code = "provider_timeout"

    def __init__(self, message: str | None = None):
        super().__init__(message, status=504, kind="timeout", retryable=True)


class ClientUnusable(BackstayError):
    """This in-process client cannot be used here. Make one where it is used, and close it there."""

    code = "client_unusable"


class ConfigError(BackstayError):
    """A configuration file or setting is wrong."""

    code = "config_error"

    def __init__(self, message: str, *, file: str | None = None, line: int | None = None):
        super().__init__(message)
        self.file = file
        self.line = line

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.file and self.line else f"{self.file}: " if self.file else ""
        return place + self.message
