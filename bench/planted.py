"""Owns what is planted into supported claims so that passages no longer support them: one change each, by kind."""

import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import msgspec

from backstay.retrieval.chunking import sentences
from bench.claims import Claim

_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
_NAME = re.compile(r"(?<=[a-z,;] )(?!The\b|This\b|In\b|An?\b)[A-Z][a-z]+(?: [A-Z][a-z]+)*")
_AUX = re.compile(r"\b(is|was|are|were|has|have|had|can|could|will|would|may|must|should|did|does|do)\b(?! not\b)")
_NOT = re.compile(r"\b(?:not|never) ")
_MONTHS_WORDS = """
January February March April May June July August September October November December
"""
_MONTHS = _MONTHS_WORDS.split()
_UNITS = [
    ("seconds", "minutes", "hours", "days", "weeks", "months", "years"),
    ("million", "billion", "thousand"),
    ("dollars", "euros", "pounds"), ("miles", "kilometers", "metres"), ("percent", "basis points"),
    ("grams", "kilograms", "tons"), ("MB", "GB", "TB"), ("points", "yards", "games"), ("%", " years"),
]  # fmt: skip
_OPPOSITES = [
    ("increase", "decrease"), ("increased", "decreased"), ("increases", "decreases"), ("rose", "fell"),
    ("higher", "lower"), ("more", "less"), ("before", "after"), ("above", "below"), ("first", "last"),
    ("largest", "smallest"), ("won", "lost"), ("with", "without"), ("same", "different"), ("including", "excluding"),
    # These are in no list of the package's: they show what it does with opposites that it does not know.
    ("northern", "southern"), ("eastern", "western"), ("old", "young"), ("public", "private"), ("early", "late"),
    ("good", "bad"), ("long", "short"), ("founded", "dissolved"), ("internal", "external"), ("light", "dark"),
    ("common", "rare"), ("easy", "difficult"), ("active", "dormant"), ("free", "paid"), ("legal", "illegal"),
]  # fmt: skip
_SCOPES = [
    ("some", "all"), ("many", "all"), ("most", "all"), ("several", "all"), ("often", "always"), ("usually", "always"),
    ("generally", "always"), ("may", "must"), ("can", "must"), ("should", "must"), ("could", "will"), ("might", "will"),
    ("all", "some"), ("every", "no"), ("only", "also"), ("any", "only"), ("typically", "never"),
]  # fmt: skip
_TAIL = re.compile(
    r",? (?:if|unless|after|within|except|until|because|when|provided|for|in|of|by|from) [^,.;]{12,60}(?=\.$)"
)

Plant = Callable[[Claim, random.Random], str | None]


def plant(supported: Sequence[Claim], seed: int = 7) -> list[Claim]:
    """Make, of each claim, one unsupported claim of each of up to four kinds, chosen by chance among those possible."""
    chance = random.Random(seed)
    by_part: dict[str, list[Claim]] = defaultdict(list)
    for claim in supported:
        by_part[claim.part].append(claim)
    found: list[Claim] = []
    for claims in by_part.values():
        kinds: dict[str, Plant] = {
            **_KINDS, "name": _names(claims), "condition": _conditions(claims), "elsewhere": _elsewhere(claims)
        }  # fmt: skip
        for claim in claims:
            names = list(kinds)
            chance.shuffle(names)
            made = ((name, kinds[name](claim, chance)) for name in names)
            told = [(name, text) for name, text in made if text and text != claim.text][:4]
            found += [_as_planted(claim, name, text) for name, text in told]
            found += [_as_planted(claim, "other answer", text) for text in claim.other_answers[:1]]
    return found


def _as_planted(claim: Claim, kind: str, text: str) -> Claim:
    return msgspec.structs.replace(claim, text=text, kind=kind, supported=False, origin=claim.text, other_answers=())


def _number(claim: Claim, chance: random.Random) -> str | None:
    spots = list(_NUMBER.finditer(claim.text))
    if not spots:
        return None
    spot = chance.choice(spots)
    digits = [n for n, sign in enumerate(spot[0]) if sign.isdigit()]
    place = chance.choice(digits)
    other = chance.choice([d for d in "123456789" if d != spot[0][place]])
    told = spot[0][:place] + other + spot[0][place + 1 :]
    # What also stands in the passages may be true of them.
    if any(told in passage for passage in claim.passages):
        return None
    return claim.text[: spot.start()] + told + claim.text[spot.end() :]


def _unit(claim: Claim, chance: random.Random) -> str | None:
    options: list[str] = []
    for family in _UNITS:
        for unit in family:
            pattern = re.compile(rf"(?<=\d)( ?){re.escape(unit)}(?!\w)")
            if pattern.search(claim.text):
                other = chance.choice([each for each in family if each != unit])
                options.append(pattern.sub(lambda found, other=other: found[1] + other, claim.text, count=1))
    return chance.choice(options) if options else None


def _date(claim: Claim, chance: random.Random) -> str | None:
    months = [month for month in _MONTHS if month in claim.text.split()]
    if not months:
        return None
    month = chance.choice(months)
    others = [each for each in _MONTHS if not any(each in passage for passage in claim.passages)]
    return claim.text.replace(month, chance.choice(others), 1) if others else None


def _names(claims: Sequence[Claim]) -> Plant:
    """Put a name in the place of one that stands nowhere in the passages."""
    known = sorted({found[0] for claim in claims for found in _NAME.finditer(claim.text) if len(found[0]) > 3})

    def strange(claim: Claim, chance: random.Random) -> str | None:
        told = [found[0] for found in _NAME.finditer(claim.text)]
        here = {word for passage in claim.passages for word in passage.split()}
        other = next(
            (name for name in chance.sample(known, min(20, len(known))) if here.isdisjoint(name.split())), None
        )
        return claim.text.replace(chance.choice(told), other, 1) if told and other else None

    return strange


def _name_nearby(claim: Claim, chance: random.Random) -> str | None:
    """Put another name of the passages in the place of one."""
    told = [found[0] for found in _NAME.finditer(claim.text)]
    others = [found[0] for passage in claim.passages for found in _NAME.finditer(passage)]
    others = [name for name in others if name not in claim.text and not any(name in each for each in told)]
    if not told or not others:
        return None
    return claim.text.replace(chance.choice(told), chance.choice(others), 1)


def _negation(claim: Claim, chance: random.Random) -> str | None:
    if (found := _NOT.search(claim.text)) is not None:
        return claim.text[: found.start()] + claim.text[found.end() :]
    spots = list(_AUX.finditer(claim.text))
    if not spots:
        return None
    spot = chance.choice(spots)
    return claim.text[: spot.end()] + " not" + claim.text[spot.end() :]


def _roles(claim: Claim, chance: random.Random) -> str | None:
    """Let two names change places."""
    spots = [found for found in re.finditer(r"\b[A-Z][\w'’-]+(?: [A-Z][\w'’-]+)*", claim.text) if len(found[0]) > 3]
    if len(spots) < 2:
        return None
    first, second = spots[0], spots[-1]
    between = claim.text[first.end() : second.start()]
    # In a list, places say nothing.
    if first[0] == second[0] or re.fullmatch(r"[, ]*(and|or|&)?[, ]*", between) or not re.search(r"[a-z]{3}", between):
        return None
    return claim.text[: first.start()] + second[0] + between + first[0] + claim.text[second.end() :]


def _swap(pairs: Sequence[tuple[str, str]], *, both_ways: bool) -> Plant:
    def swapped(claim: Claim, chance: random.Random) -> str | None:
        ways = [*pairs, *((b, a) for a, b in pairs)] if both_ways else list(pairs)
        fitting = [(old, new) for old, new in ways if re.search(rf"\b{old}\b", claim.text)]
        if not fitting:
            return None
        old, new = chance.choice(fitting)
        return re.sub(rf"\b{old}\b", new, claim.text, count=1)

    return swapped


def _only(claim: Claim, chance: random.Random) -> str | None:
    """Make the claim hold of less or of more than the passage says."""
    if (told := _swap(_SCOPES, both_ways=False)(claim, chance)) is not None:
        return told
    found = re.search(r"\b(is|are|was|were|can|in|by|for)\b ", claim.text)
    if found is None:
        return None
    return claim.text[: found.end()] + "only " + claim.text[found.end() :]


def _spliced(claim: Claim, chance: random.Random) -> str | None:
    """Say of one sentence's subject what the passage says of another's."""
    head = re.match(r"^(.{8,60}?) (is|was|are|were|has|have|had|can|will)\b ", claim.text)
    options: list[str] = []
    for passage in claim.passages:
        for start, end in sentences(passage):
            tail = re.search(r" (?:is|was|are|were|has|have|had|can|will) ([^.]{15,90}\.)$", passage[start:end])
            if (
                head
                and tail
                and tail[1][:20] not in claim.text
                and head[1][:12].casefold() not in tail.string.casefold()
            ):
                options.append(f"{head[1]} {head[2]} {tail[1]}")
    return chance.choice(options) if options else None


def _conditions(claims: Sequence[Claim]) -> Plant:
    """Add the end of another document's sentence."""
    tails = [(claim.group, found[0]) for claim in claims if (found := _TAIL.search(claim.text)) is not None]

    def added(claim: Claim, chance: random.Random) -> str | None:
        for _ in range(20):
            group, tail = chance.choice(tails)
            if group != claim.group:
                return claim.text.rstrip(". ") + tail + "."
        return None

    return added


def _elsewhere(claims: Sequence[Claim]) -> Plant:
    """Take the most alike of some claims that belong to other documents."""

    def taken(claim: Claim, chance: random.Random) -> str | None:
        words = {word for passage in claim.passages for word in passage.casefold().split()}
        others = [each for each in chance.sample(claims, min(60, len(claims))) if each.group != claim.group]
        return max(others, key=lambda each: _share(each.text, words)).text if others else None

    return taken


def _share(text: str, words: set[str]) -> float:
    told = set(text.casefold().split())
    return len(told & words) / len(told)


def kinds_of(claims: Sequence[Claim]) -> Iterator[tuple[str, list[Claim]]]:
    """Sort claims by their kinds, most first."""
    sorts: dict[str, list[Claim]] = defaultdict(list)
    for claim in claims:
        sorts[claim.kind].append(claim)
    yield from sorted(sorts.items(), key=lambda pair: -len(pair[1]))


_KINDS: dict[str, Plant] = {
    "number": _number,
    "unit": _unit,
    "date": _date,
    "name nearby": _name_nearby,
    "negation": _negation,
    "roles": _roles,
    "opposite": _swap(_OPPOSITES, both_ways=True),
    "scope": _only,
    "spliced": _spliced,
}
