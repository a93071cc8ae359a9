"""From misses to published answers and back to the same questions: a real collection, with a worker of its own.

Articles are left out of a collection, and what people asked that they answer is asked at the desk. Whatever is drafted
then rests on other articles, so an operator discards it as wrong. What nothing answered is gathered; for each topic an
editor merges what belongs to it, an article is suggested, the left-out one's words are written into it, a second person
approves it, and it is published. Then the same questions are asked again, and others that only the left-out article
answers, by new customers.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flask import Flask
from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from bench.setting import place, report, table
from flask_cairnloop import Actor, Customer, Operator, receive
from flask_cairnloop.drafting.lifecycle import LEARN_DISCARD
from flask_cairnloop.drafting.models import Draft, DraftState
from flask_cairnloop.drafting.service import discard
from flask_cairnloop.drafting.types import DraftKind
from flask_cairnloop.jobs.models import Job, JobState
from flask_cairnloop.knowledge.service import Words
from flask_cairnloop.retrieval import evaluation, indexing
from flask_cairnloop.retrieval.evaluation import Document, read_corpus, read_questions
from flask_cairnloop.upkeep import candidates, suggestions
from flask_cairnloop.upkeep.models import GapEvent, GapQuestion
from flask_cairnloop.upkeep.suggestion_models import ArticleSuggestion, SuggestionKind, SuggestionState
from tests.support.processes import environment, worker

ASKED = 6  # questions of a topic that are asked before
LATER = 4  # others, asked by new customers afterwards
FEWEST = 3
MINA, OMAR = Operator("mina", "Mina Keller"), Operator("omar", "Omar Reyes")
WHO = Actor.operator(MINA)
PATIENCE = 240.0  # seconds
DONE = (DraftState.READY, DraftState.SUPERSEDED, DraftState.FAILED)


@dataclass
class Topic:
    """An article that was left out, and what people asked that it answers."""

    title: str
    text: str
    before: list[str]
    later: list[str]
    conversations: list[int] = field(default_factory=list)
    missed: int = 0
    gathered: int = 0
    suggestion_id: int | None = None


def topics_of(folder: Path, most: int) -> tuple[list[Topic], list[Document]]:
    """The articles that are left out, those with the most questions of their own first, and all the others."""
    documents = read_corpus(folder)
    asked: dict[str, list[str]] = {document.id: [] for document in documents}
    for question in read_questions(folder):
        if len(question.relevant) == 1:
            asked[next(iter(question.relevant))].append(question.text)
    order = sorted(documents, key=lambda document: (-len(asked[document.id]), document.id))
    left_out = [document for document in order[:most] if len(asked[document.id]) >= FEWEST]
    topics = []
    for document in left_out:
        words = asked[document.id]
        before = words[: max(FEWEST, min(ASKED, len(words) - LATER))]
        topics.append(Topic(document.title, document.text, before, words[len(before) :][:LATER]))
    return topics, [document for document in documents if document not in left_out]


def within(app: Flask, work: Callable[[Session], Any]) -> Any:
    with app.app_context(), Session(app.extensions["cairnloop"].engine, expire_on_commit=False) as session:
        found = work(session)
        session.commit()
        return found


def wait(app: Flask, what: str, ready: Callable[[Session], bool]) -> None:
    ends = time.monotonic() + PATIENCE
    while not within(app, ready):
        if time.monotonic() > ends:
            raise TimeoutError(what)
        time.sleep(0.25)


def ask(app: Flask, words: str) -> int:
    customer = Customer(f"bench-{uuid.uuid4().hex}")
    message = within(app, lambda session: receive(session, customer=customer, body=words[:4_000], channel="widget"))
    return int(message.conversation_id)


def drafted(app: Flask, conversations: Sequence[int]) -> dict[int, Draft]:
    """The drafts of conversations, once all are made."""
    made = select(Draft).where(Draft.conversation_id.in_(conversations), Draft.state.in_(DONE))
    wait(app, "drafts", lambda session: len(session.scalars(made).all()) >= len(conversations))
    return {draft.conversation_id: draft for draft in within(app, lambda session: session.scalars(made).all())}


def answers(draft: Draft, article_id: int | None = None) -> bool:
    cited = {citation["article_id"] for citation in draft.citations}
    return draft.kind is DraftKind.REPLY and (article_id is None or article_id in cited)


def candidates_of(app: Flask, topic: Topic) -> Counter[int]:
    """The candidates that a topic's questions were counted to."""
    counted = (
        select(GapQuestion.candidate_id)
        .join(GapEvent, GapEvent.question_id == GapQuestion.id)
        .where(GapEvent.conversation_id.in_(topic.conversations))
    )
    return Counter(within(app, lambda session: session.scalars(counted).all()))


def suggest(app: Flask, topic: Topic, taken: set[int]) -> None:
    """Have an article suggested for the candidate with most of the topic's questions, if one is left."""
    found = candidates_of(app, topic)
    topic.missed = found.total()
    left = [(number, count) for number, count in found.most_common() if number not in taken]
    if not left:
        return
    candidate_id, topic.gathered = left[0]
    for other, _ in left[1:]:  # what an editor sees to belong to it
        within(app, lambda session, other=other: candidates.merge(session, other, candidate_id, actor=MINA))
    taken.update(number for number, _ in left)
    asked = within(
        app,
        lambda session: suggestions.request(
            session, candidate_id=candidate_id, actor=MINA, kind=SuggestionKind.ARTICLE
        ),
    )
    topic.suggestion_id = asked.id


def state(app: Flask, topic: Topic) -> ArticleSuggestion:
    number = topic.suggestion_id
    found: ArticleSuggestion = within(app, lambda session: session.get_one(ArticleSuggestion, number))
    return found


def publish(app: Flask, topic: Topic) -> None:
    """Write the left-out words into the suggestion, have them approved by another, and publish them."""
    number = topic.suggestion_id or 0
    words = Words("", topic.title, topic.text)
    within(app, lambda session: suggestions.edit(session, number, words, actor=MINA))
    for step in (suggestions.approve, suggestions.publish):
        within(app, lambda session, step=step: step(session, number, actor=OMAR))


def run(folder: Path, most: int, *, write: bool) -> None:
    topics, others = topics_of(folder, most)
    with place() as here:
        app = here.app(DRAFT_DELAY=0.0, REVIEW_SECOND_PERSON=True)
        within(app, lambda session: evaluation.load(session, others, lambda _done, _total: None))
        with worker(environment(here.database_url, here.redis_url, DRAFT_DELAY=0.0, REVIEW_SECOND_PERSON=True)):
            wait(app, "index", lambda session: not indexing.work(session).due)
            for topic in topics:
                topic.conversations = [ask(app, words) for words in topic.before]
            first = drafted(app, [number for topic in topics for number in topic.conversations])
            for draft in first.values():
                if answers(draft):
                    within(app, lambda session, number=draft.id: discard(session, number, actor=WHO, reason="wrong"))
            wait(app, "gaps", _counted)
            taken: set[int] = set()
            for topic in topics:
                suggest(app, topic, taken)
            begun = [topic for topic in topics if topic.suggestion_id is not None]
            for topic in begun:
                wait(app, "suggestions", lambda session, topic=topic: _is_written(session, topic))
                publish(app, topic)
            for topic in begun:
                wait(app, "asking again", lambda session, topic=topic: _asked_again(session, topic))
            rows, total = _again(app, topics, first)
    head = ["Left out", "asked", "answered then", "missed", "in its gap", "asked again", "answered", "others asked"]
    report("loop", table([*head, "answered", "by it"], [*rows, total]), write=write)


def _again(app: Flask, topics: Sequence[Topic], first: dict[int, Draft]) -> tuple[list[list[Any]], list[Any]]:
    """Each topic's figures, with what new customers are answered, and the sums."""
    rows: list[list[Any]] = []
    for number, topic in enumerate(topics, start=1):
        found = state(app, topic) if topic.suggestion_id is not None else None
        later = list(drafted(app, [ask(app, words) for words in topic.later]).values()) if topic.later else []
        article_id = found.article_id if found is not None else None
        rows.append(
            [
                f"article {number}",
                len(topic.before),
                sum(answers(first[conversation]) for conversation in topic.conversations),
                topic.missed,
                topic.gathered,
                found.asked if found else 0,
                found.answered_after if found else 0,
                len(later),
                sum(answers(draft) for draft in later),
                sum(answers(draft, article_id) for draft in later) if article_id is not None else 0,
            ]
        )
    return rows, ["all", *(sum(row[place] for row in rows) for place in range(1, 10))]


def _counted(session: Session) -> bool:
    """Whether everything learned from discarded drafts is counted."""
    waiting = exists().where(GapEvent.question_id.is_(None)) | exists().where(
        Job.name == LEARN_DISCARD, Job.state.not_in((JobState.SUCCEEDED, JobState.DEAD))
    )
    return not session.scalar(select(waiting))


def _is_written(session: Session, topic: Topic) -> bool:
    return session.get_one(ArticleSuggestion, topic.suggestion_id).state is SuggestionState.PENDING


def _asked_again(session: Session, topic: Topic) -> bool:
    return session.get_one(ArticleSuggestion, topic.suggestion_id).asked_again_at is not None
