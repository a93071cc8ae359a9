"""The deterministic engine of suggestions: what the team has answered, without what was meant for one person.

It invents nothing. Where the team has answered, its own sentences stand in the article, each part with the conversation
it comes from; where nobody has, there is an outline that says what is to be written. What other articles say is linked
to and not repeated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from flask_cairnloop.database.words import words_of
from flask_cairnloop.drafting.asking import telling
from flask_cairnloop.drafting.blocks import sentences
from flask_cairnloop.drafting.jobs import likeness_by
from flask_cairnloop.drafting.question import Likeness
from flask_cairnloop.drafting.types import Declined
from flask_cairnloop.errors import HookFailed
from flask_cairnloop.privacy.redactor import TOKEN
from flask_cairnloop.upkeep.suggestion_models import SuggestionKind
from flask_cairnloop.upkeep.writing import TO_WRITE, Brief, Paragraph, Source, SourceKind, Unusable, Written, text_of

if TYPE_CHECKING:
    from flask_cairnloop.hooks import Hooks

ENGINE: Final = "deterministic-1"
REASON_LENGTH: Final = 500
CASES: Final = 2  # conversations that are taken from
OUTLINED: Final = 5  # questions of an outline
SEE_ALSO: Final = 3
SAME: Final = 0.6  # share of words from which two statements say the same
SAME_QUESTION: Final = 0.75  # the same of two questions
TELLING: Final = 3  # words that say what a question is about, from which it is a title by itself
TITLE: Final = 120  # characters of a question that becomes a title
FEW_WORDS: Final = 4  # of a line that is a name below a greeting
LEVELS: Final = 6  # of headings in Markdown

_GREETING: Final = re.compile(
    r"^(?:hi|hello|hey|dear|good (?:morning|afternoon|evening|day)|hallo|guten tag|liebe[rs]?|sehr geehrte\w*|bonjour"
    r"|hola)\b[^.!?\n]{0,60}(?:[,!.:]|$)\s*",
    re.IGNORECASE,
)
_CLOSING: Final = re.compile(
    r"^(?:(?:many |kind |best |warm |all )?(?:thanks|regards|wishes|the best)|best|cheers|sincerely|yours\b.*|thank you"
    r"|(?:viele|liebe|freundliche|mit freundlichen|beste) gr(?:ü|ue)(?:ß|ss)en?|cordialement|saludos)[,.!]?$",
    re.IGNORECASE,
)
# What is said to one person at one time, and tells nobody else anything.
_PERSONAL: Final = re.compile(
    r"\b(?:thank(?:s| you)\b|sorry\b|apolog|let (?:me|us) know|get back to (?:me|us|you)|hope (?:this|that|it) helps"
    r"|please (?:reply|write back|get back|tell us|send (?:me|us))|happy to help|glad (?:to|that|you)"
    r"|you(?:'re|’re| are) welcome|any (?:other|further|more) questions?|as you (?:wrote|said|mentioned)"
    r"|(?:I|we)(?:'ve|’ve| have| had|'ll|’ll| will|'m|’m| am| are|'d|’d) |(?:I|we) (?:see|hope|think|guess|just|can see"
    r"|looked|checked|sent|refunded|changed|moved|reset|fixed|created|deleted|asked)\b"
    r"|your (?:message|e-?mail|question|report|ticket|case|patience|screenshot))",
    re.IGNORECASE,
)
_ITEM: Final = re.compile(r"^\s*(?:(?P<number>\d{1,2})[.)]|[-*•])\s+(?P<words>\S.*)$")
_HEADING: Final = re.compile(r"^(#{1,6})\s+\S")
_SPACE: Final = re.compile(r"\s+")


def propose(hooks: Hooks, brief: Brief) -> tuple[Written, str | None]:
    """What the app's own writer proposes, or the built-in engine, with the reason why it is not the app's.

    Raises:
        HookFailed: the app's writer raised, ran out of time, or answered what cannot be suggested.
    """
    answer = hooks.write_article(brief)
    if isinstance(answer, Written):
        try:
            text_of(brief, answer)
        except Unusable as fault:
            raise HookFailed("CAIRNLOOP_ARTICLE_WRITER", "invalid", str(fault)) from fault
        return answer, None
    reason = answer.reason if isinstance(answer, Declined) else None
    return compose(brief, likeness_by(hooks)), reason and reason[:REASON_LENGTH]


def compose(brief: Brief, likeness: Likeness) -> Written:
    """Write a suggestion.

    Args:
        brief: the questions and what was found.
        likeness: how alike texts are to questions, 0 to 1.
    """
    said = _statements(brief, likeness)
    new = [Paragraph(text, (number,)) for text, number in said] or [
        Paragraph(TO_WRITE.format(f"what answers “{_safe(question)}”")) for question in _apart(brief.questions)
    ]
    title = headline(brief.questions[0])
    if brief.kind is SuggestionKind.REVISION:
        place, level = _place(brief, likeness)
        heading = Paragraph(f"{'#' * level} {_safe(title)}")
        placed = tuple(Paragraph(each.text, each.sources, after=place) for each in (heading, *new))
        return Written(brief.title, placed, _summary(brief, said), ENGINE)
    return Written(title, (*new, *_see_also(brief)), _summary(brief, said), ENGINE)


def headline(question: str) -> str:
    """A question as a title: its first sentence in one line, without a greeting."""
    line = _GREETING.sub("", _SPACE.sub(" ", question).strip()) or _SPACE.sub(" ", question).strip()
    first = (sentences(line) or [line])[0]
    asks = next((each for each in sentences(line) if each.endswith("?") and len(telling(each)) >= TELLING), first)
    title = TOKEN.sub("…", asks).strip(" .")
    if len(title) > TITLE:
        title = title[:TITLE].rsplit(" ", 1)[0] + "…"
    return (title[:1].upper() + title[1:]) or "Untitled"


# --- what the team said -----------------------------------------------------------------------------------------------


def plain_statements(words: str) -> list[str]:
    """A reply as paragraphs of Markdown, without what was meant for the one it was written to.

    Steps and lists stay together. A sentence that asks, thanks, tells what somebody has done for this customer, or
    holds what the redactor took out is left out.
    """
    return [text for block in _blocks(words) if (text := _tidied(block))]


def _statements(brief: Brief, likeness: Likeness) -> list[tuple[str, int]]:
    """What cases say, the one that is most alike to the questions first, and nothing twice."""
    cases = [(source, plain_statements(source.content)) for source in brief.sources if source.kind is SourceKind.CASE]
    cases = [(source, said) for source, said in cases if said]
    if not cases:
        return []
    scores = likeness(list(brief.questions[:OUTLINED]), [f"{source.title}\n{' '.join(said)}" for source, said in cases])
    best = [max(row[place] for row in scores) for place in range(len(cases))]
    order = sorted(range(len(cases)), key=lambda place: -best[place])
    kept: list[tuple[str, int]] = []
    told: list[str] = []
    for place in order[:CASES]:
        source, said = cases[place]
        for text in said:
            new = [each for each in _units(text) if not any(_alike(each, other) >= SAME for other in told)]
            told += new
            if new:
                kept.append((" ".join(new) if len(_units(text)) > 1 else text, source.number))
    return kept


def _units(text: str) -> list[str]:
    """What of a paragraph says something by itself: its sentences; a list is one."""
    return [text] if "\n" in text or _ITEM.match(text) else sentences(text) or [text]


def _blocks(words: str) -> Iterator[list[str]]:
    """Lines that belong together: a list with the line that announces it, or a paragraph."""
    lines = [line.strip() for line in words.replace("\r\n", "\n").split("\n")]
    block: list[str] = []
    for line in [*_without_ends(lines), ""]:
        in_list = bool(_ITEM.match(line))
        was_list = bool(block) and bool(_ITEM.match(block[-1]))
        announced = bool(block) and block[-1].endswith(":")
        if not line and announced:
            continue  # what is announced comes below an empty line
        if block and (not line or (was_list and not in_list)):
            yield block
            block = []
        if line:
            block.append(line)


def _without_ends(lines: Sequence[str]) -> list[str]:
    """Without the greeting it begins with, and without everything from the words it closes with on."""
    kept: list[str] = []
    begun = False
    for place, line in enumerate(lines):
        if not begun and line:
            line, begun = _GREETING.sub("", line), True  # noqa: PLW2901
        rest = [other for other in lines[place + 1 :] if other]
        if line and _CLOSING.match(line) and len(rest) <= 2 and all(len(other.split()) <= FEW_WORDS for other in rest):
            break
        kept.append(line)
    return kept


def _tidied(block: Sequence[str]) -> str:
    items = [_ITEM.match(line) for line in block]
    if not any(items):
        return " ".join(_safe(sentence) for line in block for sentence in sentences(line) if _for_everybody(sentence))
    lead = [_safe(line) for line, item in zip(block, items, strict=True) if item is None]
    found = [item for item in items if item is not None]
    numbered = all(item["number"] for item in found)
    # Without a step, the steps lead elsewhere: who reviews it says what it was.
    told = [
        TO_WRITE.format("a step that named somebody") if TOKEN.search(item["words"]) else _safe(item["words"])
        for item in found
        if numbered or not TOKEN.search(item["words"])
    ]
    listed = [f"{f'{place}.' if numbered else '-'} {words}" for place, words in enumerate(told, start=1)]
    if not listed:
        return ""
    return "\n".join([*([" ".join(lead), ""] if lead else []), *listed])


def _for_everybody(sentence: str) -> bool:
    said = sentence.strip()
    return bool(said) and not said.endswith("?") and not TOKEN.search(said) and not _PERSONAL.search(said)


def _safe(text: str) -> str:
    """Words of people as Markdown that says the same: nothing of it becomes a heading, a quote, a link or an image."""
    line = _SPACE.sub(" ", text).strip()
    line = re.sub(r"([\[<`*]|(?<!\w)_|_(?!\w)|\\(?=[!-/:-@\[-`{-~]))", r"\\\1", line)
    return re.sub(r"^([#>+=~|-]|\d+(?=[.)]\s))", _held, line)


def _held(match: re.Match[str]) -> str:
    """The beginning of a line that would begin a heading, a quote or a list. A number needs it behind itself."""
    return f"{match[1]}\\" if match[1].isdigit() else f"\\{match[1]}"


# --- around it --------------------------------------------------------------------------------------------------------


def _apart(questions: Sequence[str]) -> list[str]:
    """The questions that an outline names, without those that ask the same."""
    kept: list[str] = []
    for question in questions:
        line = headline(question)
        if not any(_alike(line, other) >= SAME_QUESTION for other in kept):
            kept.append(line)
    return kept[:OUTLINED]


def _see_also(brief: Brief) -> list[Paragraph]:
    near: dict[str, Source] = {}
    for source in brief.sources:
        if source.kind is SourceKind.ARTICLE and source.slug:
            near.setdefault(source.slug, source)
    if not near:
        return []
    chosen = list(near.items())[:SEE_ALSO]
    links = "\n".join(f"- [{_safe(source.title)}]({slug}.md)" for slug, source in chosen)
    return [Paragraph("## See also"), Paragraph(links, tuple(source.number for _, source in chosen))]


def _place(brief: Brief, likeness: Likeness) -> tuple[int, int]:
    """After which paragraph of the base the new part comes, and how deep its heading is.

    That is the end of the section most alike to the questions.
    """
    base = brief.paragraphs
    levels = [len(match[1]) if (match := _HEADING.match(text)) else 0 for text in base]
    starts = [0, *(place for place, level in enumerate(levels) if level and place)]
    ends = [*(start - 1 for start in starts[1:]), len(base) - 1]
    texts = ["".join(base[start : end + 1]) for start, end in zip(starts, ends, strict=True)]
    scores = likeness(list(brief.questions[:OUTLINED]), texts)
    totals = [sum(row[place] for row in scores) for place in range(len(texts))]
    best = max(range(len(texts)), key=lambda place: totals[place])
    above = levels[starts[best]] or 1
    return ends[best], min(above + 1, LEVELS)


def _summary(brief: Brief, said: Sequence[tuple[str, int]]) -> str:
    used = {number for _, number in said}
    if not used:
        return "An outline: nothing that was found answers the questions. Write what does."
    counted = "one answered conversation" if len(used) == 1 else f"{len(used)} answered conversations"
    what = "A part" if brief.kind is SuggestionKind.REVISION else "An article"
    return f"{what} from {counted}. Nobody has reviewed what stands there."


def _alike(one: str, other: str) -> float:
    """The words that two texts share, as a share of the shorter one's."""
    left, right = set(words_of(one)), set(words_of(other))
    return len(left & right) / min(len(left), len(right)) if left and right else 0.0
