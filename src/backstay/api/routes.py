"""Owns the making of answers about routes: models, and their targets as all workers see them."""

from backstay.api.shapes import Drained, RateLeft, RouteModel, Routes, RouteTarget, TargetError
from backstay.gateway import Board, Model, TargetRow
from backstay.health.quota import QuotaState


def routes_view(board: Board) -> Routes:
    """Write all that a caller may see of the routes."""
    return Routes(
        models=[_model(model) for model in board.models],
        targets=[route_target(row, is_whole=board.is_whole) for row in board.targets],
    )


def route_target(row: TargetRow, *, is_whole: bool = True) -> RouteTarget:
    """Write one target. ``is_whole``: whether how much goes there may be told."""
    health = row.health
    error, at, drain = health.last_error, health.last_error_at, health.drain
    return RouteTarget(
        name=row.name,
        models=row.models,
        standing=health.standing,
        problem=row.problem,
        breaker=health.breaker,
        cause=health.cause,
        ill_since=health.ill_since,
        free_in_s=health.free_in_s,
        workers=health.workers,
        ill_workers=health.ill_workers,
        openings=health.openings,
        drained=None if drain is None else Drained(by=drain.by, at=drain.at),
        last_error=None if error is None or at is None else TargetError(
            fault=error.fault, http_status=error.http_status, at=at
        ),
        first_token_p50_ms=_ms(health.p50_s),
        first_token_p95_ms=_ms(health.p95_s),
        error_share=health.error_share,
        traffic_share=health.share,
        tries=health.tries if is_whole else None,
        failures=health.failures if is_whole else None,
        in_flight=health.in_flight if is_whole else None,
        concurrency_limit=health.concurrency_limit,
        retries_left=health.retries_left if is_whole else None,
        requests_per_min=_left(health.requests),
        tokens_per_min=_left(health.tokens),
    )  # fmt: skip


def _model(model: Model) -> RouteModel:
    route = model.route
    return RouteModel(
        name=model.name,
        strategy=route.strategy,
        sticky=route.sticky,
        on_broken_stream=route.on_broken_stream,
        targets=tuple(target.name for target in model.targets),
        weights=tuple(target.weight for target in model.targets),
        degraded_cache_stale=route.degraded.cache_stale,
        degraded_target=route.degraded.target.name if route.degraded.target is not None else None,
        degraded_message=route.degraded.message,
    )


def _left(quota: QuotaState | None) -> RateLeft | None:
    return None if quota is None else RateLeft(limit=quota.limit, left=round(quota.left, 1))


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1e3, 1)
