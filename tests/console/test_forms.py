"""What comes in with a POST, and where the browser may be sent."""

from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backstay.console.forms import safe_path


@pytest.mark.parametrize("path", ["/", "/traces?range=7d&q=a%20b", "/traces/7f3a91c2#x"])
def test_own_pages_are_kept(path: str) -> None:
    """A page of the console, its query included, can be gone on to."""
    assert safe_path(path) == path


@pytest.mark.parametrize(
    "text",
    [None, "", "https://evil.example/", "//evil.example", "/\\evil.example", "/a\\b", "\\/evil", " /x", "/\t/evil",
     "/\n//evil", "javascript:alert(1)", "/login?next=/login", "/logout", "traces"],
)  # fmt: skip
def test_other_sites_are_not(text: str | None) -> None:
    """Anything else leads to the overview."""
    assert safe_path(text) == "/"


@given(st.text())
@example("/%09/evil.example")
def test_no_text_leads_away(text: str) -> None:
    """Whatever the text, the address has no scheme and no host."""
    parts = urlsplit(safe_path(text))
    assert (parts.scheme, parts.netloc) == ("", "")
