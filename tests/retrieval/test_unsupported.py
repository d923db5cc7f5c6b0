"""Tests of what becomes of unsupported sentences: cut, or asked for again once, at the price of both calls."""

from backstay.retrieval.types import Answer, Citation, Sentence
from backstay.retrieval.unsupported import asked_again, better, without_unsupported

PLACE = Citation(external_id="a", start=0, end=1, quote="x")


def answer(*texts: str, cost_usd: str | None = "0.000001") -> Answer:
    """An answer whose sentences are supported but those that begin with a question mark."""
    marked = [
        Sentence(text=text.lstrip("?"), supported=text[0] != "?", citations=[] if text[0] == "?" else [PLACE])
        for text in texts
    ]
    told = " ".join(each.text for each in marked)
    return Answer(answer=told, abstained=False, sentences=marked, trace_id="t", cost_usd=cost_usd)


def test_cut_leaves_supported_sentences_and_keeps_the_marks() -> None:
    """The text is without the others; who wants to know them finds them among the sentences."""
    cut = without_unsupported(answer("One.", "?Two.", "Three."))
    assert cut.answer == "One. Three."
    assert [each.supported for each in cut.sentences] == [True, False, True]
    whole = answer("One.")
    assert without_unsupported(whole) is whole


def test_the_model_is_told_what_is_not_supported() -> None:
    """After what it was asked and what it said; with nothing to say, it is not asked."""
    request = {"model": "m", "messages": [{"role": "user", "content": "q"}]}
    again = asked_again(request, answer("One.", "?Two."))
    assert again is not None and again["model"] == "m"
    assert [each["role"] for each in again["messages"]] == ["user", "assistant", "user"]
    assert again["messages"][1]["content"] == "One. Two." and "- Two." in again["messages"][2]["content"]
    assert "- One." not in again["messages"][2]["content"]
    assert asked_again(request, answer("One.")) is None


def test_the_better_answer_is_kept_and_both_calls_are_paid() -> None:
    """By the share of supported sentences; the second where they are alike. An unknown price stays unknown."""
    first, second = answer("One.", "?Two."), answer("One.", cost_usd="0.0000025")
    assert (better(first, second).answer, better(first, second).cost_usd) == ("One.", "0.0000035")
    assert better(second, first).answer == "One."
    assert better(first, answer("?Three.", "Four.")).answer == "Three. Four."
    assert better(first, answer("One.", cost_usd=None)).cost_usd is None
