"""``backstay retrieval compare`` on a real server: judged documents, places that answer, a plot, bad input."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving import Server, serving

FILLER = "The harbour master keeps a list of all boats and their owners, and reads it twice a year. " * 12
ANSWER = "Refunds are paid within 14 days of the return."


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("compare")
    (folder / "backstay.toml").write_text("")
    with serving(folder, BACKSTAY_LOCAL_MODELS="true") as server:
        yield server


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two documents, and questions with the places that answer them."""
    folder = tmp_path_factory.mktemp("books")
    (folder / "docs" / "sub").mkdir(parents=True)
    text = f"{FILLER}\n\n{ANSWER}\n\n{FILLER}"
    (folder / "docs" / "sub" / "refunds.md").write_text(text)
    (folder / "docs" / "boats.txt").write_text(FILLER)
    start = text.index(ANSWER)
    question = {
        "question": "Within how many days are refunds paid?", "document": "sub/refunds.md",
        "references": [{"start": start, "end": start + len(ANSWER)}],
    }  # fmt: skip
    (folder / "questions.jsonl").write_text(json.dumps(question) + "\n")
    return folder


def test_smaller_chunks_read_less_for_the_same_answer(server: Server, books: Path) -> None:
    plot = books / "plot.svg"
    told = server.ask(
        "retrieval", "compare", "--corpus", str(books / "docs"), "--queries", str(books / "questions.jsonl"),
        "--max-chars", "200", "--max-chars", "2000", "--strategy", "recursive", "--strategy", "sentence",
        "--mode", "hybrid", "--limit", "1", "--plot", str(plot),
    )  # fmt: skip
    assert told["queries"] == 1
    rows = {(row["strategy"], row["max_chars"]): row for row in told["rows"]}
    assert len(rows) == 4
    small, large = rows["recursive", 200], rows["recursive", 2000]
    assert small["measures"]["recall"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert small["measures"]["iou"]["mean"] > 5 * large["measures"]["iou"]["mean"] > 0
    assert small["chunks"] > large["chunks"] and small["cost_usd"] is not None and small["built_s"] > 0
    drawn = ET.fromstring(plot.read_text())
    assert len(list(drawn.iter("{http://www.w3.org/2000/svg}circle"))) == 4 * 3
    assert server.ask("collections", "list")["collections"] == []


def test_judged_documents_are_compared_by_mode(server: Server, tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text(
        "\n".join(json.dumps({"_id": name, "text": text}) for name, text in (("r", ANSWER), ("b", FILLER)))
    )
    (tmp_path / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "refunds paid days"}))
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq\tr\t1\n")
    done = server.run(
        "retrieval", "compare", "--corpus", str(tmp_path / "corpus.jsonl"), "--queries",
        str(tmp_path / "queries.jsonl"), "--qrels", str(tmp_path / "qrels.tsv"), "--mode", "lexical", "--mode", "dense",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    head, *rows = done.stdout.splitlines()
    assert "ndcg@10" in head and len(rows) == 2
    assert all("1.000 (1.000–1.000)" in row for row in rows)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "line 1: without --qrels, a line needs"),
        ('{"question": "Why?", "document": "none", "references": []}', "line 1: there is no document 'none'"),
        ('{"question": "Why?", "document": "boats.txt", "references": []}', "`start` below its `end`"),
        ("", "has no questions"),
    ],
)
def test_wrong_questions_are_refused_with_their_line(
    server: Server, books: Path, tmp_path: Path, line: str, problem: str
) -> None:
    (tmp_path / "questions.jsonl").write_text(line)
    done = server.run(
        "retrieval", "compare", "--corpus", str(books / "docs"), "--queries", str(tmp_path / "questions.jsonl")
    )
    assert done.returncode != 0 and problem in done.stderr


def test_a_folder_of_what_is_no_text_is_refused(server: Server, books: Path, tmp_path: Path) -> None:
    (tmp_path / "picture.txt").write_bytes(b"\xff\xfe\x00\xff")
    done = server.run("retrieval", "compare", "--corpus", str(tmp_path), "--queries", str(books / "questions.jsonl"))
    assert done.returncode != 0 and "is no text in UTF-8" in done.stderr
