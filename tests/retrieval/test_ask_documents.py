"""``backstay ask --collection``: an answer in the terminal with what supports it."""

import pytest

from serving import Server

OPENS = "When does the office open?"


@pytest.mark.parametrize("way", ["--stream", "--no-stream"])
def test_an_answer_is_printed_with_its_citations(wires: Server, way: str) -> None:
    """Each sentence by its number: where it stands, or that nothing says so."""
    done = wires.run("ask", OPENS, "--collection", "handbook", way)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert lines[0] == "It is lovely there. The office in Berlin opens at 9:30. It opens at 7:15 on Sundays."
    assert lines[1:] == [
        "",
        "1  unsupported  It is lovely there.",
        "2  office.txt, 0–55  “The office in Berlin opens at 9:30 and closes at 18:00.”",
        "3  unsupported  It opens at 7:15 on Sundays.",
    ]
    assert "trace" in done.stderr


def test_what_the_documents_do_not_say_is_said(wires: Server) -> None:
    """On one line, and as a field for machines."""
    done = wires.run("ask", "When is the office closed?", "--collection", "handbook")
    assert done.stdout == "The documents do not say.\n"
    told = wires.ask("ask", "When is the office closed?", "--collection", "handbook")
    assert (told["abstained"], told["sentences"]) == (True, [])


def test_an_answer_is_for_whom_it_is_asked(wires: Server) -> None:
    """Ada's own document answers her, and nobody else."""
    asked = ("ask", "Where is the secret door?", "--collection", "handbook")
    told = wires.ask(*asked, "--principal", "user:ada")
    assert told["sentences"][0]["citations"][0]["external_id"] == "secret.txt"
    assert "secret.txt" not in str(wires.ask(*asked))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--collection", "handbook", "--model", "writer"], "--model does not go with --collection"),
        (["--collection", "handbook", "--system", "Be brief."], "--system does not go with --collection"),
        (["--principal", "user:ada"], "--principal goes with --collection"),
        (["--collection", "nothing"], "There is no collection nothing"),
        (["--collection", "torn"], ""),
    ],
)
def test_what_cannot_be_asked_is_told(wires: Server, options: list[str], words: str) -> None:
    """In a sentence, with an exit status that is not 0."""
    done = wires.run("ask", OPENS, *options)
    assert done.returncode != 0 and words in done.stderr
