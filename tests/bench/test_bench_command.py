"""The benchmark's command line says what it can measure, and runs nothing that it was not asked for."""

import pytest
from bench.__main__ import main, read_words


@pytest.mark.parametrize("words", [["--help"], ["budgets", "--help"], ["console", "--help"], ["ingest", "--help"]])
def test_help_measures_nothing(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Who asks for help gets it, and the exit status 0."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage: python -m bench")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["nonsense"], "invalid choice: 'nonsense'"),
        (["--quicker"], "unrecognized arguments: --quicker"),
        (["gateway", "extra"], "unrecognized arguments: extra"),
        (["console", "--calls", "none"], "invalid number value: 'none'"),
        (["console", "--calls", "0"], "0 is not 1 or more"),
    ],
)
def test_what_is_not_known_is_refused(words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A word that means nothing ends in status 2 and a sentence that names it."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["--quick", "--peers"], ["gateway", "--quick", "--peers"], ["--peers", "gateway", "--quick"]]
)
def test_options_count_wherever_they_stand(words: list[str]) -> None:
    """Before the name of what is measured, after it, or without it."""
    asked = read_words(words)
    assert (asked.quick, asked.peers) == (True, True)


def test_the_environment_still_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """`QUICK=1`, `PEERS=1`, `CALLS` and `CONSOLE_DATA` do what the options do."""
    for name, value in {"QUICK": "1", "PEERS": "1", "CALLS": "12", "CONSOLE_DATA": "kept"}.items():
        monkeypatch.setenv(name, value)
    assert (read_words([]).quick, read_words(["gateway"]).peers) == (True, True)
    asked = read_words(["console"])
    assert (asked.calls, str(asked.data)) == (12, "kept")
