"""The deterministic engine: answers with the articles' own sentences, asks when evidence is partial, and hands over
when there is none. It invents nothing, so every statement has its source by construction.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from flask_cairnloop.drafting import asking, marks
from flask_cairnloop.drafting.blocks import Block, sentences
from flask_cairnloop.drafting.question import Likeness
from flask_cairnloop.drafting.types import Citation, DraftKind, Grounding, Proposal
from flask_cairnloop.drafting.units import MAX_WORDS, Unit, describes_options, instructs, units_of
from flask_cairnloop.retrieval.chunking import JOINT
from flask_cairnloop.retrieval.grounding import TOO_LITTLE_SAID
from flask_cairnloop.retrieval.types import Passage, Strength

ENGINE: Final = "deterministic-2"
MAX_CLARIFICATIONS: Final = 2
CONSIDERED: Final = 3  # passages an answer is taken from
MAX_UNITS: Final = 3
NEAR_BEST: Final = 0.1  # a unit this much less alike than the best one still belongs to the answer
NEAR_BEST_ELSEWHERE: Final = 0.03  # the same for another article, which mostly answers another question
ANSWERS: Final = 0.36  # likeness from which a unit answers a question
COVERS: Final = 0.3  # likeness from which it answers a part of one
NEAR_ABOVE: Final = 0.15  # the same for what stands below a heading of the best one and says how it is done
LATER: Final = 0.03  # what a passage found later has to be more alike to be preferred
LEANING: Final = 0.06  # what speaks of something that is not quoted has to be more alike
DESCRIBING: Final = 0.05  # what says only how things are has to be more alike than what can be done
STEPS: Final = 0.03  # what tells what to do step by step may be less alike
NEWS: Final = 0.12  # what tells of a release has to be more alike
OTHERWISE: Final = 0.12  # what does not speak of doing what is asked for has to be more alike
NEAR_ITEM: Final = 0.12  # an item of a list of options this much less alike than its best one is left out
MANY_WORDS: Final = 170  # of a list, from which only the items that answer are quoted
FEW_ITEMS: Final = 3  # a list of no more is quoted whole
OPTIONS_WORDS: Final = 50  # the same of a list of settings and what each is for
NEAR_TOPIC: Final = 0.12  # an article this much less alike than the nearest is not named when asking
LONG_TITLE: Final = 40
QUOTE_LENGTH: Final = 320
NOT_COVERED: Final = "That leaves a part of your question open:"

# Sentences about nothing in particular. How alike a question is to them is how alike an embedder finds anything.
UNRELATED: Final = (
    "The river was low that summer.",
    "Two trains met on the bridge at noon.",
    "Bread rises faster in a warm kitchen.",
)


@dataclass(frozen=True, slots=True)
class _Candidate:
    unit: Unit
    likeness: float
    parts: tuple[float, ...]  # to each part of the question
    items: Mapping[str, float]  # likeness of each item of its long lists to the whole question


def compose(grounding: Grounding, likeness: Likeness, limit: int) -> Proposal:
    """Write the draft for a grounded question.

    Args:
        grounding: what is known. Only public passages are quoted.
        likeness: how alike texts are to questions; :func:`lexical_likeness` where there is no embedder.
        limit: longest message in characters; what does not fit quotes less, or is left to a person.
    """
    quotable = [passage for passage in grounding.passages if passage.public]
    strength = grounding.assessment.strength
    ranked = _ranked(grounding, quotable, likeness) if strength is not Strength.NONE else []
    if strength is Strength.STRONG and ranked and ranked[0].likeness >= ANSWERS:
        return _fitting_answer(grounding, _choose(ranked), limit) or _escalate(grounding, TOO_LONG, limit)
    askable = quotable or grounding.assessment.reason == TOO_LITTLE_SAID
    if strength is not Strength.NONE and askable and grounding.clarifications < MAX_CLARIFICATIONS:
        made = _clarify(grounding, ranked, quotable)
        return made if _fits(made, limit) else _escalate(grounding, TOO_LONG, limit)
    return _escalate(grounding, _why_a_person(grounding), limit)


# --- what answers ---------------------------------------------------------------------------------


def _ranked(grounding: Grounding, passages: Sequence[Passage], likeness: Likeness) -> list[_Candidate]:
    """What the evidence has to say, the likest first.

    A unit is compared with the whole question, its subject and each of its parts: a long story hides what is asked.
    """
    asked = grounding.question
    named = asking.platforms(asked)
    units = [unit for passage in passages[:CONSIDERED] for unit in units_of(passage) if _may_apply(unit, named)]
    if not units:
        return []
    parts = asking.parts(asked)
    wanted = asking.actions(grounding.subject or asked)
    texts = [_compared(unit) for unit in units]
    lines = [line for unit in units for block in unit.blocks if _is_long(block) for line in block.lines]
    views = [asked, grounding.subject or asked, *parts]
    (whole, subject, *each) = _levelled(likeness(views, [*texts, *lines, *UNRELATED]))
    (by_words,) = lexical_likeness([asked], texts)
    items = dict(zip(lines, whole[len(texts) :], strict=True))
    order = [passage.chunk_id for passage in passages]
    found = []
    for place, unit in enumerate(units):
        parted = tuple(scores[place] for scores in each)
        score = 0.5 * whole[place] + 0.3 * max(subject[place], *parted, 0.0) + 0.2 * by_words[place]
        score -= LATER * order.index(unit.passage.chunk_id) + _handicap(unit, wanted)
        found.append(_Candidate(unit, score, parted, items))
    return sorted(found, key=lambda item: (-item.likeness, order.index(item.unit.passage.chunk_id), item.unit.place))


def _handicap(unit: Unit, wanted: set[str]) -> float:
    """What a unit has to make up for by likeness, because it may well not be what helps."""
    return (
        LEANING * unit.leans
        - STEPS * unit.steps
        + DESCRIBING * (not unit.instructs)
        + NEWS * unit.news
        + OTHERWISE * (not asking.does(f"{unit.passage.title} {unit.heading} {unit.text}", wanted))
    )


def _compared(unit: Unit) -> str:
    return f"{unit.topic}\n{unit.text}"


def _levelled(table: Sequence[Sequence[float]]) -> list[list[float]]:
    """Likeness with what the embedder finds alike in anything taken off, so that thresholds hold for any of them.

    Args:
        table: for each question its likeness to texts, :data:`UNRELATED` the last of them.
    """
    rows = []
    for scores in table:
        *told, first, second, third = (float(score) for score in scores)
        floor = max((first + second + third) / len(UNRELATED), 0.0)
        rows.append([max(score - floor, 0.0) / max(1 - floor, 0.01) for score in told])
    return rows


def _may_apply(unit: Unit, named: set[str]) -> bool:
    """Whether it is not headed as something for other platforms than the one asked about."""
    headed = asking.platforms(f"{unit.heading}\n{unit.blocks[0].text if unit.blocks[0].leads_on else ''}")
    return not named or not headed or bool(headed & named)


def _choose(ranked: Sequence[_Candidate]) -> list[_Candidate]:
    """The units that answer, in reading order: the best one's passage first, the units of each as they stand."""
    best = ranked[0]
    chosen = [best]
    for item in ranked[1:]:
        if len(chosen) == MAX_UNITS:
            break
        words = sum(other.unit.words for other in chosen)
        if words + item.unit.words <= MAX_WORDS and _adds(item, chosen):
            chosen.append(item)
    order = [best.unit.passage.chunk_id, *(item.unit.passage.chunk_id for item in ranked)]
    chosen.sort(key=lambda item: (order.index(item.unit.passage.chunk_id), item.unit.place))
    return [_only_what_answers(item) for item in chosen]


def _adds(item: _Candidate, chosen: Sequence[_Candidate]) -> bool:
    """Whether it goes with the best unit, or answers a part of the question that nothing chosen does."""
    best = chosen[0]
    elsewhere = item.unit.passage.article_id != best.unit.passage.article_id
    articles = {other.unit.passage.article_id for other in chosen}
    if elsewhere and (len(articles) > 1 or item.unit.leans or not item.unit.instructs):
        return False  # two articles answer at most
    covers = any(
        score >= COVERS and max(other.parts[part] for other in chosen) < COVERS for part, score in enumerate(item.parts)
    )
    if covers:
        return True
    if elsewhere:
        return item.likeness >= best.likeness - NEAR_BEST_ELSEWHERE
    if _unfolds(item.unit, best.unit):
        return item.likeness >= max(best.likeness - NEAR_ABOVE, ANSWERS)
    return item.unit.heading == best.unit.heading and item.likeness >= best.likeness - NEAR_BEST


def _unfolds(unit: Unit, above: Unit) -> bool:
    """Whether it says how to do what an introduction above it, in the same passage, only says can be done."""
    below = unit.heading != above.heading and unit.heading.startswith(
        f"{above.heading}{JOINT}" if above.heading else ""
    )
    return below and unit.passage.chunk_id == above.passage.chunk_id and unit.instructs and not unit.leans


def _only_what_answers(item: _Candidate) -> _Candidate:
    """The unit with only those items of a long list of options that answer; steps stay whole."""
    blocks = tuple(_fewer(block, item.items) if _is_long(block) else block for block in item.unit.blocks)
    return replace(item, unit=replace(item.unit, blocks=blocks))


def _is_long(block: Block) -> bool:
    """Whether it is a list of which only some items may be quoted."""
    if block.kind != "list" or block.numbered or block.holds_steps or len(block.lines) <= FEW_ITEMS:
        return False
    return len(block.text.split()) > _most_words(block)


def _most_words(block: Block) -> int:
    return OPTIONS_WORDS if describes_options(block) else MANY_WORDS


def _fewer(block: Block, likeness: Mapping[str, float]) -> Block:
    scores = [likeness[line] - DESCRIBING * (not instructs(line)) for line in block.lines]
    kept: list[str] = []
    for place in sorted(range(len(scores)), key=lambda place: -scores[place]):
        near = scores[place] >= max(scores) - NEAR_ITEM
        if not kept or (near and len(" ".join([*kept, block.lines[place]]).split()) <= _most_words(block)):
            kept.append(block.lines[place])
    return replace(block, lines=tuple(line for line in block.lines if line in kept))


# --- an answer ------------------------------------------------------------------------------------


def _fitting_answer(grounding: Grounding, chosen: list[_Candidate], limit: int) -> Proposal | None:
    """The answer without the least alike of its units, so that it fits; ``None`` when the best alone does not."""
    kept = list(chosen)
    while kept:
        answer = _answer(grounding, kept)
        if _fits(answer, limit):
            return answer
        kept.remove(min(reversed(kept), key=lambda item: item.likeness))
    return None


def _answer(grounding: Grounding, chosen: Sequence[_Candidate]) -> Proposal:
    numbers: dict[int, int] = {}
    cited: dict[int, list[Unit]] = {}
    paragraphs: list[str] = []
    heading: str | None = None
    for item in chosen:
        unit = item.unit
        number = numbers.setdefault(unit.passage.chunk_id, len(numbers) + 1)
        cited.setdefault(number, []).append(unit)
        paragraphs += _paragraphs(unit, number, headed=unit.heading != heading)
        heading = unit.heading
    citations = tuple(_cite(number, units) for number, units in cited.items())
    left = _uncovered(grounding.question, chosen)
    if left:
        quoted = listing([f"“{part}”" for part in left])
        paragraphs.append(f"{NOT_COVERED} {quoted} {_takes_over(grounding)} will come back to you on that.")
    summary = f"Answers from {listing([citation.title for citation in citations])}."
    if left:
        summary += f" Not covered: {' '.join(left)}"
    return Proposal(DraftKind.REPLY, in_full(grounding, paragraphs), summary, citations, ENGINE)


def _paragraphs(unit: Unit, number: int, *, headed: bool) -> list[str]:
    """A unit as paragraphs, each with its source. A list that nothing announces stands below what it is about."""
    found: list[str] = []
    if headed and unit.blocks[0].kind != "paragraph":
        found.append(announced(unit.passage.title if unit.topic.endswith("?") else unit.topic))
    joined = bool(found)
    for block in unit.blocks:
        text = _alone(block) if len(block.lines) == 1 else block.text
        if not block.leads_on:
            text = f"{text}\n[{number}]" if block.kind == "code" else f"{text} [{number}]"
        if joined:
            found[-1] += f"\n{text}"
        else:
            found.append(text)
        joined = block.leads_on
    return found


def _alone(block: Block) -> str:
    """The only item of a list is no list."""
    text = block.text
    if block.kind != "list":
        return text
    first, *below = text.split(" ", 1)[1].split("\n")
    return "\n".join([first, *(line.removeprefix("  ") for line in below)])


def announced(topic: str) -> str:
    """A heading or title as the line above what it is about."""
    return topic if topic.endswith(("?", "!", ":")) else f"{topic.rstrip('.')}:"


def _uncovered(question: str, chosen: Sequence[_Candidate]) -> list[str]:
    """The parts of a question of several that nothing chosen answers."""
    parts = asking.parts(question)
    left = [part for place, part in enumerate(parts) if max(item.parts[place] for item in chosen) < COVERS]
    return left if len(left) < len(parts) else []


def _cite(number: int, units: Sequence[Unit]) -> Citation:
    passage = units[0].passage
    return Citation(
        number,
        passage.article_id,
        passage.revision_id,
        passage.chunk_id,
        passage.title,
        passage.heading,
        _quote([line for unit in units for line in unit.text.split("\n")]),
    )


def _quote(lines: Sequence[str]) -> str:
    """What is quoted of a passage, as far as there is room: whole sentences, and a cut one only alone."""
    kept = ""
    for sentence in (sentence for line in lines for sentence in sentences(line.strip())):
        longer = f"{kept} {sentence}".strip()
        if len(longer) > QUOTE_LENGTH:
            return f"{kept} …" if kept else longer[:QUOTE_LENGTH].rsplit(" ", 1)[0] + "…"
        kept = longer
    return kept


# --- a question -----------------------------------------------------------------------------------


def _clarify(grounding: Grounding, ranked: Sequence[_Candidate], passages: Sequence[Passage]) -> Proposal:
    """One question that asks for what would decide it.

    Where the articles touch the matter it names their subjects; where too little was said to find anything, naming what
    was found by accident would only mislead, so it asks what the person sees.
    """
    if grounding.assessment.reason == TOO_LITTLE_SAID:
        question = "What were you trying to do when it happened, and what did you see instead?"
        hint = "The name of the page and the exact words of any message help most."
        summary = "Too little was said to find an article. One question would settle what this is about."
    else:
        topics = _topics(ranked, passages)
        named = listing([f"“{topic}”" for topic in topics], "or")
        detail = asking.missing(grounding.question, [item.unit for item in ranked])
        if detail:
            question = f"So that we point you to the right steps, one thing is missing: {detail.clause}?"
            hint = f"The closest we have is {named}. If it is something else, tell us what you did just before."
            summary = (
                f"The articles touch this but do not settle it. Missing: {detail.name}. Closest: {listing(topics)}."
            )
        else:
            question = f"So that we point you to the right steps: is this about {named}, or something else?"
            hint = "What you did just before, and what you expected to see instead, help most."
            summary = f"The articles touch this but do not settle it. Closest: {listing(topics)}."
    return Proposal(DraftKind.CLARIFICATION, _letter([greeting(grounding), question, hint]), summary, (), ENGINE)


def _topics(ranked: Sequence[_Candidate], passages: Sequence[Passage]) -> list[str]:
    """What the nearest articles are about, in few words; those that are much less alike would only mislead."""
    near = [item.unit for item in ranked if item.likeness >= ranked[0].likeness - NEAR_TOPIC]
    titles = list(dict.fromkeys(_short(unit.passage.title) for unit in near))
    headed = list(dict.fromkeys(_short(unit.topic) for unit in near))
    if len(titles) == 1 and len(headed) > 1:
        return headed[:2]  # what decides lies within one article
    return (titles or list(dict.fromkeys(_short(passage.title) for passage in passages)))[:2]


def _short(title: str) -> str:
    """A long title without what it says after a dash."""
    first = re.split(r" [-–—|] |: ", title)[0].strip()
    return first if len(title) > LONG_TITLE and " " in first else " ".join(title.split())


# --- handing over ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Why:
    """Why a person should answer.

    Args:
        customer: for the customer, to stand before ", so".
        operator: one sentence for the operator.
    """

    customer: str
    operator: str


TOO_LONG: Final = Why(
    "What there is to say about this does not fit into one message",
    "What there is to say is longer than a message may be.",
)
ASKED_ENOUGH: Final = Why(
    "Thank you for your answers. They do not lead to one of our help articles",
    "Asked {times} times already without getting closer.",
)
INTERNAL: Final = Why(
    "Our public help articles do not answer this", "The closest article is internal and may not be quoted."
)
SEARCH_FAILED: Final = Why(
    "We could not search all of our help articles just now",
    "Search did not work in full, so it is not certain that no article covers this.",
)
UNCOVERED: Final = Why("Our help articles do not answer this yet", "No published article covers this.")


def _why_a_person(grounding: Grounding) -> Why:
    if grounding.clarifications >= MAX_CLARIFICATIONS:
        return ASKED_ENOUGH
    if grounding.passages and not grounding.passages[0].public:
        return INTERNAL
    return SEARCH_FAILED if grounding.assessment.reason == "search_degraded" else UNCOVERED


def _escalate(grounding: Grounding, why: Why, limit: int) -> Proposal:
    """A person takes over: the reason for the operator, and words that tell the customer who and why."""
    who = _takes_over(grounding)
    told = f"{why.customer}, so {who[0].lower()}{who[1:]} will look into it and answer you here."
    summary = f"{why.operator.format(times=grounding.clarifications)} {who} should answer."
    made = Proposal(DraftKind.ESCALATION, _letter([greeting(grounding), told]), summary, (), ENGINE)
    return made if _fits(made, limit) else Proposal(DraftKind.ESCALATION, "", summary, (), ENGINE)


def _takes_over(grounding: Grounding) -> str:
    return f"Somebody from {grounding.manner.team}"


# --- shared ---------------------------------------------------------------------------------------


def greeting(grounding: Grounding) -> str:
    """The first line of a message to this customer, as the host greets."""
    return grounding.manner.greets(grounding.customer_name)


def in_full(grounding: Grounding, paragraphs: Sequence[str]) -> str:
    """An answer between greeting and closing, which are the host's for every engine."""
    return _letter([greeting(grounding), *paragraphs, grounding.manner.closing.strip()])


def listing(items: Sequence[str], word: str = "and") -> str:
    """Things in a sentence, each once."""
    unique = list(dict.fromkeys(items))
    if len(unique) < 2:
        return "".join(unique)
    return f"{', '.join(unique[:-1])} {word} {unique[-1]}"


def _letter(paragraphs: Sequence[str]) -> str:
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def _fits(proposal: Proposal, limit: int) -> bool:
    return len(marks.sent(proposal)) <= limit


def lexical_likeness(questions: Sequence[str], texts: Sequence[str]) -> list[list[float]]:
    """Share of each question's telling words found in each text, words that stand in every text counting least."""
    stems = [asking.stems(text) for text in texts]
    return [_shares(asking.stems(question), stems) for question in questions]


def _shares(wanted: set[str], texts: Sequence[set[str]]) -> list[float]:
    weights = {word: 1.0 / (1 + sum(word in words for words in texts)) for word in wanted}
    total = sum(weights.values()) or 1.0
    return [sum(weights[word] for word in words & wanted) / total for words in texts]
