"""Owns the server that the documentation's snippets run against."""

from collections.abc import Iterator

import pytest

from serving import Server, serving


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server with the local models."""
    with serving(
        tmp_path_factory.mktemp("server"), BACKSTAY_LOCAL_MODELS="true", BACKSTAY_JOBS_CONCURRENCY="16"
    ) as running:
        yield running
