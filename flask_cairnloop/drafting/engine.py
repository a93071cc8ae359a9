"""The deterministic engine: answers with the articles' own sentences, asks when evidence is partial, hands over when
there is none. It invents nothing, so every statement has its source by construction.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from flask_cairnloop.drafting import marks
from flask_cairnloop.drafting.blocks import Block, blocks_of, sentences
from flask_cairnloop.drafting.question import Likeness
from flask_cairnloop.drafting.types import Citation, DraftKind, Grounding, Proposal
from flask_cairnloop.retrieval.grounding import TOO_LITTLE_SAID
from flask_cairnloop.retrieval.types import Passage, Strength

ENGINE = "deterministic-1"
MAX_CLARIFICATIONS = 2
TOO_LONG = "What there is to say is longer than a message may be. A person should answer."
MAX_WORDS = 150  # of quoted text; an answer that is longer is not read
MAX_BLOCKS = 3
NEAR_BEST = 0.14  # a block this much less alike than the best one still belongs to the answer
NEAR_BEST_ELSEWHERE = 0.05  # the same for another article, which mostly answers another question
QUOTE_LENGTH = 320

_WORD = re.compile(r"[^\W_]{3,}")


@dataclass(frozen=True, slots=True)
class _Candidate:
    passage: Passage
    place: int  # of the block in its passage
    blocks: tuple[Block, ...]  # a lead-in and what it announces stay together
    likeness: float

    @property
    def text(self) -> str:
        return "\n".join(block.text for block in self.blocks)

    @property
    def words(self) -> int:
        return len(self.text.split())


def compose(grounding: Grounding, likeness: Likeness, limit: int) -> Proposal:
    """Write the draft for a grounded question.

    Args:
        grounding: what is known. Only public passages are quoted.
        likeness: how alike texts are to the question; :func:`lexical_likeness` where there is no embedder.
        limit: longest message in characters; what does not fit quotes less, or is left to a person.
    """
    quotable = [passage for passage in grounding.passages if passage.public]
    strength = grounding.assessment.strength
    if strength is Strength.STRONG and quotable:
        chosen = _choose(grounding.question, quotable, likeness)
        if chosen:
            return _fitting_answer(grounding, chosen, limit) or _escalate(TOO_LONG)
    askable = quotable or grounding.assessment.reason == TOO_LITTLE_SAID
    if strength is not Strength.NONE and askable and grounding.clarifications < MAX_CLARIFICATIONS:
        asking = _clarify(grounding, quotable)
        return asking if _fits(asking, limit) else _escalate(TOO_LONG)
    return _escalate(_why_a_person(grounding))


# --- an answer ------------------------------------------------------------------------------------


def _choose(question: str, passages: list[Passage], likeness: Likeness) -> list[_Candidate]:
    """The blocks that answer, in reading order: best passage first, each passage's blocks as they stand in it."""
    drafted = [candidate for passage in passages[:3] for candidate in _candidates(passage)]
    if not drafted:
        return []
    scores = likeness(question, [f"{item.passage.heading}\n{item.text}" for item in drafted])
    scored = [
        _Candidate(item.passage, item.place, item.blocks, float(score))
        for item, score in zip(drafted, scores, strict=True)
    ]
    scored.sort(key=lambda item: (-item.likeness, passages.index(item.passage), item.place))
    best = scored[0]
    chosen: list[_Candidate] = []
    words = 0
    for item in scored:
        if item.likeness < best.likeness - NEAR_BEST or len(chosen) == MAX_BLOCKS:
            break
        elsewhere = item.passage.article_id != best.passage.article_id
        if elsewhere and item.likeness < best.likeness - NEAR_BEST_ELSEWHERE:
            continue
        if chosen and words + item.words > MAX_WORDS:
            continue
        chosen.append(item)
        words += item.words
    order = [best.passage.chunk_id, *(passage.chunk_id for passage in passages)]
    return sorted(chosen, key=lambda item: (order.index(item.passage.chunk_id), item.place))


def _candidates(passage: Passage) -> list[_Candidate]:
    found: list[_Candidate] = []
    blocks = blocks_of(passage.content)
    place = 0
    while place < len(blocks):
        group = [blocks[place]]
        while group[-1].leads_on and place + len(group) < len(blocks):
            group.append(blocks[place + len(group)])
        if not group[-1].leads_on:
            found.append(_Candidate(passage, place, tuple(_shorten(block) for block in group), 0.0))
        place += len(group)
    return found


def _shorten(block: Block) -> Block:
    """A paragraph that alone would fill the answer keeps its first whole sentences."""
    if block.kind != "paragraph" or len(block.text.split()) <= MAX_WORDS:
        return block
    kept: list[str] = []
    for sentence in sentences(block.text):
        if kept and len(" ".join([*kept, sentence]).split()) > MAX_WORDS:
            break
        kept.append(sentence)
    return Block("paragraph", (" ".join(kept),))


def _fitting_answer(grounding: Grounding, chosen: list[_Candidate], limit: int) -> Proposal | None:
    """The answer without the least alike of its blocks, so that it fits; ``None`` when the best alone does not."""
    kept = list(chosen)
    while kept:
        answer = _answer(grounding, kept)
        if _fits(answer, limit):
            return answer
        kept.remove(min(reversed(kept), key=lambda item: item.likeness))
    return None


def _answer(grounding: Grounding, chosen: list[_Candidate]) -> Proposal:
    citations: list[Citation] = []
    numbers: dict[int, int] = {}
    paragraphs: list[str] = []
    for item in chosen:
        number = numbers.setdefault(item.passage.chunk_id, len(numbers) + 1)
        if number > len(citations):
            citations.append(_cite(number, item))
        *lead, last = item.blocks
        paragraphs += [block.text for block in lead]
        paragraphs.append(f"{last.text} [{number}]" if last.kind != "code" else f"{last.text}\n[{number}]")
    body = "\n\n".join(
        [_greeting(grounding), *_join_lists(paragraphs), "Does that solve it? If not, just write back here."]
    )
    titles = _listing([citation.title for citation in citations])
    return Proposal(DraftKind.REPLY, body, f"Answers from {titles}.", tuple(citations), ENGINE)


def _join_lists(paragraphs: list[str]) -> list[str]:
    """A lead-in and its list are one paragraph."""
    joined: list[str] = []
    for paragraph in paragraphs:
        if joined and joined[-1].endswith(":"):
            joined[-1] += "\n" + paragraph
        else:
            joined.append(paragraph)
    return joined


def _cite(number: int, item: _Candidate) -> Citation:
    passage = item.passage
    quote = " ".join(item.text.split())
    if len(quote) > QUOTE_LENGTH:
        quote = quote[:QUOTE_LENGTH].rsplit(" ", 1)[0] + "…"
    return Citation(
        number, passage.article_id, passage.revision_id, passage.chunk_id, passage.title, passage.heading, quote
    )


# --- a question -----------------------------------------------------------------------------------


def _clarify(grounding: Grounding, passages: list[Passage]) -> Proposal:
    """One question that asks for what would decide it.

    Where the articles touch the matter it names their subjects; where too little was said to find anything, naming what
    was found by accident would only mislead, so it asks what the person sees.
    """
    if grounding.assessment.reason == TOO_LITTLE_SAID:
        question = "What were you trying to do when it happened, and what did you see instead?"
        hint = "The name of the page and the exact words of any message help most."
        summary = "Too little was said to find an article. One question would settle what this is about."
    else:
        topics = _topics(passages)
        named = _listing([f"“{topic}”" for topic in topics], "or")
        question = f"So that we point you to the right steps: is this about {named}, or something else?"
        hint = "The exact words of any message you see, and what you did just before, help most."
        summary = f"The articles touch this but do not settle it. Closest: {_listing(topics)}."
    body = "\n\n".join([_greeting(grounding), question, hint])
    return Proposal(DraftKind.CLARIFICATION, body, summary, (), ENGINE)


def _topics(passages: list[Passage]) -> list[str]:
    topics: list[str] = []
    for passage in passages:
        if passage.title not in topics:
            topics.append(passage.title)
    return topics[:2]


# --- handing over ------------------------------------------------------------------------------------


def _escalate(summary: str) -> Proposal:
    return Proposal(DraftKind.ESCALATION, "", summary, (), ENGINE)


def _why_a_person(grounding: Grounding) -> str:
    if grounding.clarifications >= MAX_CLARIFICATIONS:
        return f"Asked {grounding.clarifications} times already without getting closer. A person should take over."
    if grounding.passages and not grounding.passages[0].public:
        return "The closest article is internal and may not be quoted. A person should answer."
    return "No published article covers this. A person should answer."


# --- shared ---------------------------------------------------------------------------------------


def _fits(proposal: Proposal, limit: int) -> bool:
    return len(marks.sent(proposal)) <= limit


def _greeting(grounding: Grounding) -> str:
    first = (grounding.customer_name or "").split()[:1]
    return f"Hi {first[0]}," if first else "Hi,"


def _listing(items: Sequence[str], word: str = "and") -> str:
    unique = list(dict.fromkeys(items))
    if len(unique) < 2:
        return "".join(unique)
    return f"{', '.join(unique[:-1])} {word} {unique[-1]}"


def lexical_likeness(question: str, texts: Sequence[str]) -> list[float]:
    """Share of the question's words found in each text, words that stand in every text counting least."""
    wanted = {word.lower() for word in _WORD.findall(question)}
    found = [{word.lower() for word in _WORD.findall(text)} & wanted for text in texts]
    weights = {word: 1.0 / (1 + sum(word in words for words in found)) for word in wanted}
    total = sum(weights.values()) or 1.0
    return [sum(weights[word] for word in words) / total for words in found]
