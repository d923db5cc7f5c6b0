"""Tests of the joint between a text that broke off and what another target goes on with."""

from hypothesis import given
from hypothesis import strategies as st

from backstay.gateway.seam import Joint

BEFORE = "The capital of France is Paris. It lies on the Seine, and has about two million inhabit"


def join(before: str, pieces: list[str], *, anew: bool = False) -> str:
    """Feed pieces, and return all that is shown."""
    joint = Joint(before, anew=anew)
    return before + "".join(map(joint.feed, pieces)) + joint.flush()


def cut(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


@given(st.integers(1, 40))
def test_a_plain_continuation_passes(size: int) -> None:
    """What goes on where the text stopped is joined as it is, however it is cut."""
    assert join(BEFORE, cut("ants and many museums.", size)) == BEFORE + "ants and many museums."


@given(st.integers(1, 40), st.integers(12, len(BEFORE)))
def test_words_said_again_are_left_out(size: int, repeated: int) -> None:
    """A model that repeats the end of the text, or all of it, is heard once."""
    whole = BEFORE + "ants and many museums."
    assert join(BEFORE, cut(BEFORE[-repeated:] + "ants and many museums.", size)) == whole


@given(st.integers(1, 40))
def test_a_new_beginning_that_is_the_same_is_one_text(size: int) -> None:
    """After a restart, a target that answers the same is joined without a seam; another answer begins after a line."""
    whole = BEFORE + "ants."
    assert join(BEFORE, cut(whole, size), anew=True) == whole
    assert join(BEFORE, cut("Paris.", size), anew=True) == BEFORE + "\n\nParis."


def test_white_space_at_the_seam_is_there_once() -> None:
    """The target was shown the text without the white space at its end, and may write it again."""
    assert join("It is ", [" big"]) == "It is big"
    assert join("It is ", ["big"]) == "It is big"
    assert join("It is", [" big"]) == "It is big"


@given(st.text(max_size=60), st.lists(st.text(max_size=10), max_size=12))
def test_nothing_new_is_lost(before: str, pieces: list[str]) -> None:
    """Whatever comes, the shown text ends with what came, or all of it was a repetition."""
    shown, new = join(before, pieces), "".join(pieces)
    assert shown.startswith(before)
    added = shown[len(before) :]
    assert new.endswith(added) and (added == new or new[: len(new) - len(added)].strip() in before)
