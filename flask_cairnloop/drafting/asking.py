"""What a question asks for: its parts, what it speaks of, and which detail that would decide it is missing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from flask_cairnloop.drafting.blocks import sentences
from flask_cairnloop.drafting.support import stem, words_of
from flask_cairnloop.drafting.units import Unit

MOST_PARTS: Final = 5
TELLING: Final = 2  # words that a part must have to ask for something
LONGEST_PART: Final = 200

_WORD: Final = re.compile(r"[^\W_]+(?:[’'-][^\W_]+)*")
_ADDRESS: Final = re.compile(r"<?https?://\S+")
_NUMBERED: Final = re.compile(r"(?<!\S)(?:\d{1,2}[.)]|[-*•])\s+(?=[A-Z])")
_COURTESY: Final = re.compile(
    r"^\W*(?:any (?:ideas?|help|suggestions?|advice|thoughts|clues?|tips)|(?:can|could|would) (?:you|any ?(?:one"
    r"|body)|some ?(?:one|body))\W*(?:please )?"
    r"(?:help|assist|advise)|what (?:is|'s|’s) (?:going on|wrong|happening)|(?:is )?any ?(?:one|body) else"
    r"|am i (?:missing|doing)|does any ?(?:one|body) (?:know|have)"
    r"|how (?:do|can) i (?:fix|solve|correct|resolve) (?:this|it|that)|what (?:can|should|do) i do|why\W*$"
    r"|is there any ?thing|thanks?|thank you|help)\b",
    re.IGNORECASE,
)
_SMALL: Final = words_of(
    "about after again also always another anyone anything because been before being both can cannot could did "
    "does doing done dont each else even ever every fix for from get gets getting give goes going got had has "
    "have having help here how however into just keep know like look make many may maybe more most much must need "
    "never not now off one only other our out over own please possible problem problems question reason right "
    "same seem seems she should since some something still such sure take tell than thank thanks that the their "
    "them then there these they thing things think this those through too tried try trying until use used using "
    "very want was way well were what when where whether which while who why will with without work working works "
    "would yes yet you your are all any and but able hello dear way ways solution solutions idea ideas everyone "
    "somebody someone im ive it's its isn't"
)

# Names of the platforms that software runs on, in any support desk; ``{name: words}``.
PLATFORMS: Final = {
    "Windows": re.compile(
        r"\bWindows\b|(?i:\bwin(?:dows)? ?(?:xp|7|8|10|11|pc|computer|laptop|machine)\b)|(?i:\bon windows\b)"
    ),
    "macOS": re.compile(r"\bmac ?os(?: ?x)?\b|\bos x\b|\bmac(?:book|intosh|s)?\b", re.IGNORECASE),
    "Linux": re.compile(r"\blinux\b|\bubuntu\b|\bdebian\b|\bfedora\b", re.IGNORECASE),
    "Android": re.compile(r"\bandroid\b", re.IGNORECASE),
    "iOS": re.compile(r"\biphone\b|\bipad(?:os)?\b|\biOS\b"),
    "ChromeOS": re.compile(r"\bchrome ?(?:os|book)\b", re.IGNORECASE),
}
_VERSION: Final = re.compile(r"\bv?\d+\.\d+(?:\.\d+)*\w*\b|\b(?:version|release|v|ver)\.? ?\d+\b", re.IGNORECASE)
_VERSIONED: Final = re.compile(
    r"\b(?:version|release)s? \d+|\b\d+(?:\.\d+)+\b|\b(?:older|newer|earlier|previous|later|recent) versions?\b"
    r"|\b\d{2,} (?:and|or) (?:newer|older|later|earlier|higher|lower)\b",
    re.IGNORECASE,
)
_FAULT: Final = re.compile(
    r"\b(?:error|errors|message says|warning|alert|fail(?:s|ed|ing|ure)?|crash(?:es|ed|ing)?|refus(?:es|ed)"
    r"|reject(?:s|ed)|denied|exceptions?)\b",
    re.IGNORECASE,
)
_TOLD: Final = re.compile(
    r"[“\"‘«„][^”\"’»“]{6,}[”\"’»“]|\b[A-Z_]{3,}_[A-Z_]+\b|\b(?:error|code) ?(?:code)?:? ?#?\d+|\b0x[0-9a-f]+\b"
    r"|:\s*[A-Z][^.\n]{12,}",
)
_EITHER: Final = re.compile(r"\b([A-Z][A-Z0-9]{1,7})(?:,? (?:or|vs\.?|versus) )(?:an? |the )?([A-Z][A-Z0-9]{1,7})\b")


@dataclass(frozen=True, slots=True)
class Missing:
    """A detail that would decide a question.

    Args:
        clause: asks for it, to stand after "we need to know one more thing:".
        name: what it is, for the operator.
    """

    clause: str
    name: str


def parts(question: str) -> list[str]:
    """What is asked for in a question, one sentence each, in the customer's words. Courtesies ask for nothing."""
    found: list[str] = []
    for line in _ADDRESS.sub(" ", question).split("\n"):
        for stretch in _NUMBERED.split(line):
            for sentence in sentences(stretch):
                asks = sentence.rstrip(' "”’)').endswith("?") or re.match(
                    r"\W*(?:how (?:do|can|to)|where (?:is|do|can))\b", sentence, re.I
                )
                if (
                    asks
                    and not _COURTESY.match(sentence)
                    and len(telling(sentence)) >= TELLING
                    and len(sentence) <= LONGEST_PART
                ):
                    found.append(" ".join(sentence.split()))
    return list(dict.fromkeys(found))[:MOST_PARTS]


def telling(text: str) -> set[str]:
    """The words of a text that say what it is about, in lower case."""
    return {word for word in (found.lower() for found in _WORD.findall(text)) if len(word) > 2 and word not in _SMALL}


def stems(text: str) -> set[str]:
    """The telling words of a text without their endings."""
    return {stem(word) for word in telling(text)}


_ACTION: Final = re.compile(
    r"\b(?:how (?:do|can|could|should|would|to)(?: (?:i|we|you|one))?|(?:ways?|options?|possible) to)"
    r"(?: \w+ly)? (?:to )?(?P<verb>[a-z]+)\b",
    re.IGNORECASE,
)


def actions(question: str) -> set[str]:
    """What somebody wants to do: the stems of the verbs."""
    verbs = (match["verb"].lower() for match in _ACTION.finditer(question))
    return {stem(verb) for verb in verbs if verb not in _SMALL}


def does(text: str, wanted: set[str]) -> bool:
    """Whether a text speaks of doing one of these."""
    return not wanted or bool(wanted & {stem(word.lower()) for word in _WORD.findall(text)})


def platforms(text: str) -> set[str]:
    """The platforms that a text names."""
    return {name for name, words in PLATFORMS.items() if words.search(text)}


def missing(question: str, units: Sequence[Unit]) -> Missing | None:
    """The detail that would decide between the things the evidence speaks of, and that the question does not tell.

    What competes in the evidence is asked for first: platforms, then alternatives that the articles themselves put
    beside each other, then versions. After that, what people forget to write: the words of the message they saw.

    Args:
        units: the evidence nearest to the question, best first.
    """
    headings = " \n".join(f"{unit.passage.title} {unit.heading}" for unit in units)
    running = platforms(headings)
    if len(running) > 1 and not platforms(question):
        named = [name for name in PLATFORMS if name in running]
        return Missing(f"is this on {_or(named)}", "the platform")
    either = _either(question, units)
    if either:
        return Missing(f"is it about {either[0]} or {either[1]}", f"{either[0]} or {either[1]}")
    if _FAULT.search(question) and not _TOLD.search(question):
        return Missing("what are the exact words of the message you see", "the words of the message")
    versioned = {unit.heading for unit in units if _VERSIONED.search(f"{unit.passage.title} {unit.heading}")}
    if versioned and len(versioned) < len(units) and not _VERSION.search(question):
        return Missing("which version do you use", "the version")
    return None


def _either(question: str, units: Sequence[Unit]) -> tuple[str, str] | None:
    """Two things that the evidence names as alternatives by their abbreviations, neither of them in the question."""
    said = question.lower()
    counted: Counter[tuple[str, str]] = Counter()
    for unit in units:
        counted.update({(min(pair), max(pair)) for pair in _EITHER.findall(f"{unit.heading}\n{unit.text}")})
    for (left, right), _ in sorted(counted.items(), key=lambda item: (-item[1], item[0])):
        if left != right and left.lower() not in said and right.lower() not in said:
            return left, right
    return None


def _or(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
