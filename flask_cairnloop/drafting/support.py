"""Whether what a model wrote is borne out by the passages it names. Pure functions: no model, no database.

Two questions are asked of each statement. Is what can be looked up there: numbers with their units, addresses,
identifiers, quoted words, names? And does a sentence of a passage say the same: near in meaning, with no word denied on
one side only, and no word turned into its opposite? Whatever is in doubt counts as not borne out: the price is a
draft by the built-in engine, which quotes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from flask_cairnloop.drafting.blocks import blocks_of, sentences
from flask_cairnloop.privacy.redactor import TOKEN

# How near each window is to the statement, 0 to 1, in order; where SAME begins to count as the same matter.
Nearness = Callable[[str, Sequence[str]], Sequence[float]]

SAME: Final = 0.6  # nearness from which a window speaks of what the statement says: see tests/drafting/test_support.py
CLOSE: Final = 0.12  # a window this much less near than the best one may bear a statement out as well
WIDEST: Final = 3  # sentences of a window
KNOWN: Final = 0.7  # share of a statement's words that stand in its sources, or were the customer's


class Flaw(StrEnum):
    """What is wrong with a statement, in words that end "The model's draft …"."""

    NO_SOURCE = "says something without naming a source"
    UNKNOWN_SOURCE = "names a source that it was not given"
    PRIVATE = "repeats what was taken out of the question as private"
    NUMBER = "has a number that its source does not have"
    ADDRESS = "has an address that its source does not have"
    IDENTIFIER = "has a code or a file that its source does not have"
    LABEL = "quotes words that its source does not have"
    NAME = "has a name that its source does not have"
    ELSEWHERE = "says something that its sources do not"
    OPPOSITE = "says the opposite of its source"


@dataclass(frozen=True, slots=True)
class Backing:
    """Where a statement is borne out: the words of a passage, and how near they are to it."""

    source: int  # place among the texts
    quote: str
    nearness: float


@dataclass(frozen=True, slots=True)
class Text:
    """A passage as it was sent.

    Args:
        about: title and heading, which name what the passage speaks of.
    """

    about: str
    content: str


def weigh(statement: str, texts: Sequence[Text], said: str, nearness: Nearness) -> Backing | Flaw:
    """Where a statement is borne out, or what is wrong with it.

    Args:
        statement: one sentence or step, without marks.
        texts: the passages it names as its sources.
        said: what the customer wrote: names, codes and quoted words may be theirs.
    """
    if not texts:
        return Flaw.NO_SOURCE
    written = "\n".join(f"{text.about}\n{text.content}\n{' '.join(plain(text.content))}" for text in texts)
    wrong = looked_up(statement, written, said)
    if wrong is None and known(statement, f"{written}\n{said}") < KNOWN:
        wrong = Flaw.ELSEWHERE
    return wrong if wrong else _meant(statement, texts, nearness)


# --- what can be looked up ------------------------------------------------------------------------

_ADDRESS = re.compile(
    r"(?:https?://|www\.)[^\s<>\"“”()\[\]]+|[\w.+-]+@[\w-]+\.[\w.-]+|\b[\w-]+(?:\.[\w-]+)*\.(?:com|org|net|io|example)\b\S*"
)
_QUOTED = re.compile(r"“([^”]+)”|\"([^\"]+)\"|„([^“]+)“|«([^»]+)»|`([^`]+)`|\*{1,2}([^*]+)\*{1,2}")
_CODE = re.compile(
    r"(?<![\w/.-])(?:--?[A-Za-z][\w-]*|[~/][\w./-]+|\w*(?:\d[A-Za-z]|[A-Za-z]\d)[\w-]*|\w+_\w+|(?=[\w.]*[^\W\d_])\w+(?:\.\w+)+"
    r"|[A-Z]{2,}(?:-?\w+)*|[A-Za-z]+-\d[\w-]*|[a-z]+[A-Z]\w*)"
)
_NUMBER = re.compile(r"(?<![\w.])([€$£¥]?)\s?(\d+(?:[.,:]\d+)*)\s?-?(%|[€$£¥]|[^\W\d_]+)?")
_WORD = re.compile(r"[^\W_]+(?:[’'][^\W_]+)*")
_NAME = re.compile(r"(?<=[^\s.!?:…“\"])\s+[“\"(]?([A-Z][^\W\d_]{2,})")
_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|z\.B|d\.h|p\.ej|a\.m|p\.m)\b\.?", re.IGNORECASE)
_UP_TO_TWENTY = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
    " eighteen nineteen twenty"
)
_COUNTED = {word: str(value) for value, word in enumerate(_UP_TO_TWENTY.split())} | {
    "thirty": "30",
    "forty": "40",
    "fifty": "50",
    "sixty": "60",
    "ninety": "90",
    "hundred": "100",
}
_UNITS = {
    **dict.fromkeys(("second", "seconds", "sec", "secs", "s"), "second"),
    **dict.fromkeys(("minute", "minutes", "min", "mins"), "minute"),
    **dict.fromkeys(("hour", "hours", "hr", "hrs", "h"), "hour"),
    **dict.fromkeys(("day", "days"), "day"),
    **dict.fromkeys(("week", "weeks"), "week"),
    **dict.fromkeys(("month", "months"), "month"),
    **dict.fromkeys(("year", "years"), "year"),
    **dict.fromkeys(("€", "eur", "euro", "euros"), "euro"),
    **dict.fromkeys(("$", "usd", "dollar", "dollars"), "dollar"),
    **dict.fromkeys(("£", "gbp", "pounds"), "pound"),
    **dict.fromkeys(("%", "percent", "per cent"), "percent"),
    **{
        unit: unit
        for unit in ("kb", "mb", "gb", "tb", "mm", "cm", "m", "km", "g", "kg", "ml", "l", "v", "w", "am", "pm")
    },
    **dict.fromkeys(("litre", "litres", "liter", "liters"), "litre"),
    **dict.fromkeys(("time", "times"), "time"),
}
# "One" and "two" are no figures by themselves: only before a unit.
_COUNTED_UNIT = re.compile(
    rf"\b({'|'.join(_COUNTED)})\b(?=[\s-]+(?:{'|'.join(unit for unit in _UNITS if unit.isalpha())})\b)"
)


def looked_up(statement: str, written: str, said: str) -> Flaw | None:
    """The first thing that can be looked up in the sources and is not there.

    Addresses and numbers must be the sources' own: what a customer asks for in figures is no promise of ours.
    """
    if TOKEN.search(statement):
        return Flaw.PRIVATE
    here, theirs = _folded(written), _folded(said)
    both = f"{here}\n{theirs}"
    if any(_folded(found[0]).rstrip(".,;:!?/") not in here for found in _ADDRESS.finditer(statement)):
        return Flaw.ADDRESS
    rest = _ABBREVIATION.sub(" ", _ADDRESS.sub(" ", statement))
    quoted = [next(filter(None, found.groups())) for found in _QUOTED.finditer(rest)]
    if any(_folded(label).strip(" .,;:!?") not in both for label in quoted):
        return Flaw.LABEL
    if any(not _occurs(_folded(found[0]), both) for found in _CODE.finditer(_QUOTED.sub(" ", rest))):
        return Flaw.IDENTIFIER
    if _figures(_CODE.sub(" ", rest)) - _figures(written):
        return Flaw.NUMBER
    names = {found[1].casefold() for found in _NAME.finditer(rest)}
    if any(not re.search(rf"\b{re.escape(name[: max(4, len(name) - 2)])}", both) for name in names):
        return Flaw.NAME
    return None


def _folded(text: str) -> str:
    return " ".join(text.replace("’", "'").split()).casefold()


def _occurs(token: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(token)}(?!\w)", text) is not None


def _figures(text: str) -> set[str]:
    """Numbers, and numbers with their units where the unit is one we know. ``ten seconds`` is ``10 second``."""
    found: set[str] = set()
    lowered = _COUNTED_UNIT.sub(lambda found: _COUNTED[found[1]], text.casefold())
    for sign, digits, after in _NUMBER.findall(lowered):
        number = re.sub(r"[.,](?=\d{3}(?:\D|$))", "", digits)
        number = re.sub(r"[.,]0+$", "", number)
        unit = _UNITS.get(after) or _UNITS.get(sign)
        found.add(f"{number} {unit}" if unit else number)
        if unit:
            found.add(number)
    return found


# --- what is meant --------------------------------------------------------------------------------


def words_of(words: str) -> frozenset[str]:
    """The words of a line, as a set."""
    return frozenset(words.split())


_NEGATIONS = words_of(
    "not no never cannot without none nor neither nobody nothing nicht kein keine keinen nie ohne pas jamais sans"
    " nunca jamás"
)
_DENY_BEFORE = words_of("nothing none blocked forbidden impossible unsupported unavailable")
_HANDED_ON = words_of("allowed possible permitted")
_LEANT_ON = words_of("need needs needed have want try able let longer yet always still even")
_CLAUSE = re.compile(r"[.!?;:,()]|\b(?:but|except|unless|and|aber|sondern|und|mais|et|pero|y)\b", re.IGNORECASE)
_OPPOSITES = tuple(
    (words_of(left), words_of(right))
    for left, right in (
        ("on", "off"),
        ("enable enabled enables", "disable disabled disables"),
        ("before", "after"),
        ("more", "less fewer"),
        ("always", "never"),
        ("increase increases raise raises", "decrease decreases reduce reduces lower lowers"),
        ("open opens", "close closes shut"),
        ("up above", "down below"),
        ("allow allowed allows", "forbid forbidden refuse refused block blocked"),
        ("left", "right"),
        ("first", "last"),
        ("minimum least", "maximum most"),
        ("free", "paid"),
        ("include included includes", "exclude excluded excludes"),
        ("add", "remove delete"),
        ("connect plug connected", "disconnect unplug disconnected"),
        ("lock locked", "unlock unlocked"),
        ("start begin starts begins", "stop end stops ends"),
        ("early earlier", "late later"),
        ("empty", "fill full"),
        ("same", "another different other"),
        ("install", "uninstall"),
        ("any all every", "only"),
        ("possible", "impossible"),
        ("public", "private"),
        ("must required", "optional may"),
        ("keep keeps kept", "delete deletes deleted erase erased discard discarded"),
    )
)
_SMALL = words_of(
    "the a an and or of to in on at by for with from as is are was were be been it its this that these those you your"
    " we our i my me he she they them their can will would should may might do does did have has had if when then than"
    " so there here what which who how why please also just into out up about over not no"
)


def plain(content: str) -> list[str]:
    """The sentences of a passage as a customer would read them; items of lists, and lines of code, are sentences."""
    found: list[str] = []
    for block in blocks_of(content):
        if block.kind == "paragraph":
            found += sentences(block.text)
        else:
            found += [re.sub(r"^ *(?:\d+\.|-) ", "", line) for line in block.text.split("\n") if line.strip()]
    return found


def windows(content: str) -> list[str]:
    """Runs of one to three sentences that follow each other."""
    lines = plain(content)
    return [
        " ".join(lines[start : start + width])
        for width in range(1, WIDEST + 1)
        for start in range(len(lines) - width + 1)
    ]


def _meant(statement: str, texts: Sequence[Text], nearness: Nearness) -> Backing | Flaw:
    found = [(place, window) for place, text in enumerate(texts) for window in windows(text.content)]
    if not found:
        return Flaw.ELSEWHERE
    scores = nearness(statement, [window for _, window in found])
    ranked = sorted(
        (Backing(place, window, score) for (place, window), score in zip(found, scores, strict=True)),
        key=lambda backing: (-backing.nearness, len(backing.quote)),
    )
    best = ranked[0].nearness
    if best < SAME:
        return Flaw.ELSEWHERE
    singles = {line for text in texts for line in plain(text.content)}
    nearest = next(backing.quote for backing in ranked if backing.quote in singles)
    near = [backing for backing in ranked if backing.nearness >= max(SAME, best - CLOSE)]
    if contradicts(statement, nearest):
        near = [backing for backing in near if nearest not in backing.quote]
    return next((backing for backing in near if not contradicts(statement, backing.quote)), Flaw.OPPOSITE)


def contradicts(statement: str, window: str) -> bool:
    """Whether one denies a word that the other affirms, or has the opposite of one of its words."""
    denied, affirmed = _polarity(statement)
    denied_there, affirmed_there = _polarity(window)
    if (denied - affirmed) & (affirmed_there - denied_there) or (affirmed - denied) & (denied_there - affirmed_there):
        return True
    here, there = _words(statement), _words(window)
    return _undone(here, there) or any(
        one & here and other & there and not one & there and not other & here
        for left, right in _OPPOSITES
        for one, other in ((left, right), (right, left))
    )


def _undone(here: set[str], there: set[str]) -> bool:
    """Whether one has ``unblock`` where the other has ``block``."""
    return any(
        f"{prefix}{word}" in theirs - ours
        for ours, theirs in ((here, there), (there, here))
        for word in ours
        for prefix in ("un", "dis", "in", "im")
        if len(word) > 3
    )


def _polarity(text: str) -> tuple[set[str], set[str]]:
    """Stems of the words that are denied, and of those that are not.

    A negation denies the first word after it that says something, what is only leant on (``need to``) besides; words
    like ``nothing`` and ``blocked`` deny the one before them.
    """
    denied: set[str] = set()
    affirmed: set[str] = set()
    for clause in _CLAUSE.split(text):
        denying, said = False, ""
        for word in _tokens(clause):
            if word in _DENY_BEFORE and said:
                denied.add(said)
                affirmed.discard(said)
            if word in _NEGATIONS or word.endswith("n't"):
                denying = True
            elif word not in _SMALL and len(word) > 1:
                said = stem(word)
                if word not in _LEANT_ON:
                    (denied if denying else affirmed).add(said)
                denying = denying and (word in _LEANT_ON or word in _HANDED_ON)
    return denied, affirmed


def _tokens(text: str) -> Iterator[str]:
    for found in _WORD.finditer(text.replace("’", "'").casefold()):
        yield found[0]


def _words(text: str) -> set[str]:
    return set(_tokens(text))


def stem(word: str) -> str:
    """A word without the endings that English and its neighbours hang on it."""
    for ending in ("ing", "edly", "ed", "ies", "es", "en", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)].rstrip("i")
    return word.rstrip("iy") if len(word) > 3 else word


def shared_words(statement: str, found: Sequence[str]) -> list[float]:
    """Nearness where there is no embedder: the share of the statement's words that say something found in each."""
    wanted = _content(_tokens(statement))
    if not wanted:
        return [0.0] * len(found)
    return [len(wanted & _content(_tokens(window))) / len(wanted) for window in found]


def known(statement: str, written: str) -> float:
    """Share of the words that say something which stand somewhere in a text."""
    wanted = _content(_tokens(statement))
    return len(wanted & _content(_tokens(written))) / len(wanted) if wanted else 0.0


def _content(words: Iterable[str]) -> set[str]:
    return {stem(word) for word in words if word not in _SMALL and len(word) > 2}


def by_vectors(embed: Callable[[Sequence[str]], Sequence[Sequence[float]]]) -> Nearness:
    """Nearness by meaning, on a scale that does not hang on the embedder.

    Every model has a likeness of its own that unrelated sentences have. It is taken from sentences about nothing in
    particular: as near as those is 0, the same words are 1.
    """

    def near(statement: str, found: Sequence[str]) -> list[float]:
        target, *others = embed([statement, *UNRELATED, *found])
        floor = sum(cosine(target, other) for other in others[: len(UNRELATED)]) / len(UNRELATED)
        by_words = shared_words(statement, found)
        return [
            0.5 * max(0.0, (cosine(target, vector) - floor) / (1 - floor)) + 0.5 * share
            for vector, share in zip(others[len(UNRELATED) :], by_words, strict=True)
        ]

    return near


UNRELATED: Final = (
    "The river was low that summer.",
    "She paints her fence every other spring.",
    "Two trains met on the bridge at noon.",
    "Bread rises faster in a warm kitchen.",
)


def cosine(left: Sequence[float], right: Sequence[float]) -> float:
    """The cosine of two vectors; 0 where one has no length."""
    norms = (sum(a * a for a in left) * sum(b * b for b in right)) ** 0.5
    return float(sum(a * b for a, b in zip(left, right, strict=True)) / norms) if norms else 0.0
