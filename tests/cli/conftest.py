"""Owns the server that the tests of the command line share."""

from collections.abc import Iterator

import pytest

from serving import Server, serving


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server without local models."""
    with serving(tmp_path_factory.mktemp("server")) as running:
        yield running
