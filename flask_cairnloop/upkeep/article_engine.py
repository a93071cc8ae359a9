"""The deterministic engine of suggestions: what the team has answered, without what was meant for one person.

It invents nothing. Where the team has answered, its own sentences stand in the article, each part with the conversation
it comes from; where nobody has, there is an outline that says what is to be written. What other articles say is linked
to and not repeated.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from markdown_it import MarkdownIt

from flask_cairnloop.database.words import words_of
from flask_cairnloop.drafting.asking import telling
from flask_cairnloop.drafting.blocks import sentences
from flask_cairnloop.drafting.jobs import likeness_by
from flask_cairnloop.drafting.question import Likeness
from flask_cairnloop.drafting.support import contradicts, plain
from flask_cairnloop.drafting.types import Declined
from flask_cairnloop.errors import HookFailed
from flask_cairnloop.privacy.redactor import TOKEN
from flask_cairnloop.upkeep.spoken import plain_statements, safe, without_greeting
from flask_cairnloop.upkeep.suggestion_models import SuggestionKind
from flask_cairnloop.upkeep.writing import TO_WRITE, Brief, Paragraph, Source, SourceKind, Unusable, Written, text_of

if TYPE_CHECKING:
    from flask_cairnloop.hooks import Hooks

ENGINE: Final = "deterministic-1"
REASON_LENGTH: Final = 500
CASES: Final = 2  # conversations that are taken from
OUTLINED: Final = 5  # questions of an outline
SEE_ALSO: Final = 3
SAME: Final = 0.85  # share of its words from which a statement says what another does
SAME_QUESTION: Final = 0.75  # the same of two questions
TELLING: Final = 3  # words that say what a question is about, from which it is a title by itself
SUBJECT: Final = 2  # the same of a line that stands above a message
TITLE: Final = 120  # characters of a question that becomes a title
LEVELS: Final = 6  # of headings in Markdown

_TAGGED: Final = re.compile(r"^(?:(?:re|fwd?|aw|wg):\s*|\[[A-Z]+\]\s*)+", re.IGNORECASE)
_MARKDOWN: Final = MarkdownIt("commonmark", {"html": False})
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
        Paragraph(TO_WRITE.format(f"what answers “{safe(question)}”")) for question in _apart(brief.questions)
    ]
    title = headline(brief.questions[0])
    if brief.kind is SuggestionKind.REVISION:
        place, level = _place(brief, likeness)
        heading = Paragraph(f"{'#' * level} {safe(title)}")
        placed = tuple(Paragraph(each.text, each.sources, after=place) for each in (heading, *new))
        return Written(brief.title, placed, _summary(brief, said), ENGINE)
    return Written(title, (*new, *_see_also(brief)), _summary(brief, said), ENGINE)


def headline(question: str) -> str:
    """A question as a title: the line that stands above a message, else the sentence of it that asks."""
    lines = [line for each in question.split("\n") if (line := _TAGGED.sub("", without_greeting(_line(each))))]
    told = [sentence for line in lines for sentence in sentences(line)] or [_line(question)]
    subject = len(lines) > 1 and len(sentences(lines[0])) == 1 and len(telling(lines[0])) >= SUBJECT
    first = next((each for each in told if telling(each)), told[0])
    asks = next((each for each in told if each.endswith("?") and len(telling(each)) >= TELLING), first)
    title = TOKEN.sub("…", lines[0] if subject else asks).strip(" .")
    if len(title) > TITLE:
        title = title[:TITLE].rsplit(" ", 1)[0] + "…"
    if title.isupper() and " " in title:
        title = title.capitalize()
    return (title[:1].upper() + title[1:]) or "Untitled"


def _line(text: str) -> str:
    return _SPACE.sub(" ", text).strip()


# --- what the team said -----------------------------------------------------------------------------------------------


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
    told = plain(brief.base)  # what the article that is changed says already
    for place in order[:CASES]:
        source, said = cases[place]
        for text in said:
            new = [each for each in _units(text) if not _is_told(each, told)]
            told += new
            if new:
                kept.append((" ".join(new) if len(_units(text)) > 1 else text, source.number))
    return kept


def _units(text: str) -> list[str]:
    """What of a paragraph says something by itself: its sentences; a list is one."""
    return [text] if "\n" in text else sentences(text) or [text]


def _is_told(statement: str, told: Sequence[str]) -> bool:
    """Whether one of these says the same. What denies it does not, though its words are nearly the same."""
    return any(_alike(statement, other) >= SAME and not contradicts(statement, other) for other in told)


# --- around it --------------------------------------------------------------------------------------------------------


def _apart(questions: Sequence[str]) -> list[str]:
    """The questions that an outline names, without those that ask the same."""
    kept: list[str] = []
    for question in questions:
        line = headline(question)
        if not any(max(_alike(line, other), _alike(other, line)) >= SAME_QUESTION for other in kept):
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
    links = "\n".join(f"- [{safe(source.title)}]({slug})" for slug, source in chosen)
    return [Paragraph("## See also"), Paragraph(links, tuple(source.number for _, source in chosen))]


def _place(brief: Brief, likeness: Likeness) -> tuple[int, int]:
    """After which paragraph of the base the new part comes, and how deep its heading is.

    That is the end of the section most alike to the questions.
    """
    base = brief.paragraphs
    levels, closed = _headings(base)
    starts = [0, *(place for place in levels if place)]
    ends = [*(start - 1 for start in starts[1:]), closed]
    texts = ["".join(base[start : end + 1]) for start, end in zip(starts, ends, strict=True)]
    scores = likeness(list(brief.questions[:OUTLINED]), texts)
    totals = [sum(row[place] for row in scores) for place in range(len(texts))]
    best = max(range(len(texts)), key=lambda place: totals[place])
    above = levels.get(starts[best], 1)
    return ends[best], min(above + 1, LEVELS)


def _headings(base: Sequence[str]) -> tuple[dict[int, int], int]:
    """The paragraphs that begin with a heading, with its level, and the last one after which another may come.

    A line of code that looks like a heading is none, and nothing may come after code that nobody closed.
    """
    begins: dict[int, int] = {}  # the line each paragraph begins at
    line = 0
    for place, text in enumerate(base):
        begins[line] = place
        line += text.count("\n")
    tokens = _MARKDOWN.parse("".join(base).rstrip("\n") + "\n\nx\n")
    found = {
        begins[token.map[0]]: int(token.tag[1])
        for token in tokens
        if token.type == "heading_open" and not token.level and token.map and token.map[0] in begins
    }
    last = next(token for token in reversed(tokens) if token.map and not token.level)
    if last.type != "fence" or last.map is None:
        return found, len(base) - 1
    opened = last.map[0]
    return found, max(place for start, place in begins.items() if start <= opened) - 1


def _summary(brief: Brief, said: Sequence[tuple[str, int]]) -> str:
    used = {number for _, number in said}
    if not used:
        return "An outline: nothing that was found answers the questions. Write what does."
    counted = "one answered conversation" if len(used) == 1 else f"{len(used)} answered conversations"
    what = "A part" if brief.kind is SuggestionKind.REVISION else "An article"
    return f"{what} from {counted}. Nobody has reviewed what stands there."


def _alike(one: str, other: str) -> float:
    """How many of a text's words stand in another, as a share."""
    left, right = set(words_of(one)), set(words_of(other))
    return len(left & right) / len(left) if left else 0.0
