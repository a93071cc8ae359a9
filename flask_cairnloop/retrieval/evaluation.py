"""Measures the product's own search and grounding on labelled questions."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any, Final

from sqlalchemy import insert, text
from sqlalchemy.orm import Session

from flask_cairnloop.clock import now
from flask_cairnloop.context import current
from flask_cairnloop.conversations.models import Conversation, ConversationStatus, CustomerRecord
from flask_cairnloop.database.base import quoted_schema
from flask_cairnloop.errors import CairnloopError
from flask_cairnloop.knowledge.models import Article, ArticleState, Audience, Revision, RevisionState
from flask_cairnloop.privacy.redactor import redact
from flask_cairnloop.retrieval import indexing, memory, statistics
from flask_cairnloop.retrieval.embedding import embed
from flask_cairnloop.retrieval.fusion import by_lane
from flask_cairnloop.retrieval.grounding import assess, calibration
from flask_cairnloop.retrieval.search import Found, explore, passages, search
from flask_cairnloop.retrieval.vectors import is_ready
from flask_cairnloop.retrieval.visibility import Scope

Progress = Callable[[int, int], None]
DEPTH = 10


class BadData(CairnloopError):
    """A data set is missing a file or has a line that is not in the format."""


@dataclass(frozen=True, slots=True)
class Document:
    id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Question:
    """A question and the documents that answer it, with their grades."""

    text: str
    relevant: Mapping[str, float]


def read_corpus(folder: Path) -> list[Document]:
    """The documents of a BEIR folder.

    Raises:
        BadData: the file is missing or broken.
    """
    return [
        Document(str(row["_id"]), str(row.get("title") or ""), str(row["text"]))
        for row in read_lines(folder / "corpus.jsonl", "_id", "text")
    ]


def read_questions(folder: Path) -> list[Question]:
    """The judged questions of a BEIR folder.

    Raises:
        BadData: a file is missing or broken.
    """
    texts = {str(row["_id"]): str(row["text"]) for row in read_lines(folder / "queries.jsonl", "_id", "text")}
    judged: dict[str, dict[str, float]] = {}
    path = folder / "qrels" / "test.tsv"
    try:
        for line in path.read_text(encoding="utf-8").splitlines()[1:]:
            if line.strip():
                query, document, grade = line.split("\t")
                judged.setdefault(query, {})[document] = float(grade)
    except (OSError, ValueError) as fault:
        raise BadData(f"{path} cannot be read: {fault}") from fault
    return [
        Question(texts[query], relevant)
        for query, relevant in judged.items()
        if query in texts and any(grade > 0 for grade in relevant.values())
    ]


def load(session: Session, documents: Sequence[Document], progress: Progress) -> dict[int, str]:
    """Publish and index documents in a scratch schema. Returns the id of each article's document."""
    embedder = current().hooks.embedder() if is_ready(session) else None
    names: dict[int, str] = {}
    for number, document in enumerate(documents, 1):
        source = _publish(session, number, document)
        names[source.article_id] = document.id
        session.commit()
        pieces = source.pieces()
        vectors = indexing.embed_pieces(embedder, source.title, pieces) if embedder else None
        indexing.write(session, source, pieces, embedder.model if embedder else None, vectors)
        session.commit()
        progress(number, len(documents))
    statistics.fold(session)
    _analyze(session, "articles", "revisions", "chunks", "terms", *(["chunk_embeddings"] if is_ready(session) else []))
    return names


def _analyze(session: Session, *tables: str) -> None:
    for table in tables:
        session.execute(text(f"ANALYZE {quoted_schema(session)}.{table}"))
    session.commit()


def teach(
    session: Session, file: Path, names: Mapping[int, str], asked: Collection[str], progress: Progress
) -> dict[str, int]:
    """Feed past answered questions into memory, each as its own customer's approved answer would be.

    Args:
        file: JSON lines ``{"query", "corpus_id"}``, oldest first.
        names: the document of each article. A question whose document is none of them was answered by no article.
        asked: questions that are evaluated. One that is equal to one of these is dropped, and counted.

    Raises:
        BadData: the file is not in the format.
    """
    articles = {name: article_id for article_id, name in names.items()}
    past: dict[str, list[int]] = {}
    dropped: set[str] = set()
    for row in read_lines(file, "query", "corpus_id"):
        question = str(row["query"])
        if question in asked:
            dropped.add(question)
            continue
        found = articles.get(str(row["corpus_id"]))
        past.setdefault(question, []).extend([] if found is None else [found])
    embedder = current().hooks.embedder() if is_ready(session) else None
    for number, (question, answers) in enumerate(past.items(), 1):
        customer_id, conversation_id = _stranger(session, number)
        words = redact(question)
        question_id = memory.remember(session, conversation_id, customer_id, 1, words, answers)
        session.commit()
        if embedder is not None:
            vectors = {embedder.model: [(question_id, embed(embedder, [words], "query")[0])]}
            memory.keep_vectors(session, vectors)
            session.commit()
        progress(number, len(past))
    _analyze(session, "past_questions", "past_answers")
    return {"history": len(past), "history_dropped": len(dropped)}


def evaluate_retrieval(
    session: Session, folder: Path, progress: Progress, history: Path | None = None
) -> dict[str, Any]:
    """Search for every judged question and compare with the judgements.

    ``recall@k`` counts questions with at least one right document among the first k. ``stages`` says what each step of
    the fusion adds.

    Args:
        history: past answered questions for the memory lane: see :func:`teach`.

    Raises:
        BadData: the folder or the history is not in the format.
    """
    documents, questions = read_corpus(folder), read_questions(folder)
    names = load(session, documents, progress)
    texts = {question.text for question in questions}
    taught = teach(session, history, names, texts, progress) if history else {}
    rankings: dict[str, list[list[str]]] = {}
    times = []
    for number, question in enumerate(questions, 1):
        began = time.perf_counter()
        found = explore(session, question.text, Scope())
        passages(session, found, DEPTH)
        times.append((time.perf_counter() - began) * 1000)
        session.rollback()
        for name, ranking in _rankings(found).items():
            rankings.setdefault(name, []).append([names[article] for article in ranking[:DEPTH]])
        progress(number, len(questions))
    relevant = [question.relevant for question in questions]
    measured = {name: figures(ranking, relevant) for name, ranking in rankings.items()}
    return {
        **measured["fused"],
        "p50_ms": percentile(times, 0.5),
        "p95_ms": percentile(times, 0.95),
        "queries": len(questions),
        "documents": len(documents),
        **taught,
        "lanes": {lane: measured[lane] for lane in LANES},
        "stages": {stage: measured[stage] for stage in STAGES},
    }


# Orders by parts of the fused score: what each step adds, and what is missing without a lane.
STAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "meaning": ("meaning",),
    "meaning + breadth": ("meaning", "breadth"),
    "meaning + words": ("meaning", "words"),
    "meaning + breadth + words": ("meaning", "breadth", "words"),
    "meaning + breadth + memory": ("meaning", "breadth", "memory"),
    "words + memory": ("words", "memory"),
    "all": ("meaning", "breadth", "words", "memory"),
}
LANES: Final = ("keyword", "vector", "memory", "fused")


def _rankings(found: Found) -> dict[str, list[int]]:
    """Articles in the order of each lane, of all together, and of each stage."""
    ordered = found.in_order()
    parts = {candidate.article_id: candidate.parts for candidate in ordered}
    stages = {
        stage: sorted(parts, key=lambda article: (-sum(parts[article][part] for part in wanted), article))
        for stage, wanted in STAGES.items()
    }
    return {**by_lane(ordered), "fused": [candidate.article_id for candidate in ordered], **stages}


@dataclass(frozen=True, slots=True)
class Grounded:
    """Labelled questions and what search made of them."""

    numbers: list[Mapping[str, float]]
    scores: list[float]
    answerable: list[bool]


def ground(
    session: Session, file: Path, folder: Path, progress: Progress, history: Path | None = None
) -> tuple[Grounded, dict[str, int]]:
    """Search for every labelled question among the documents of a folder.

    Args:
        history: past answered questions for the memory lane: see :func:`teach`.

    Raises:
        BadData: the file, the folder or the history is not in the format, or all questions are of one kind.
    """
    rows = list(read_lines(file, "query", "answerable"))
    names = load(session, read_corpus(folder), progress)
    taught = teach(session, history, names, {str(row["query"]) for row in rows}, progress) if history else {}
    held = calibration(current().session())  # the app's own; the scratch schema has none
    grounded = Grounded([], [], [])
    for number, row in enumerate(rows, 1):
        question = str(row["query"])
        assessment = assess(question, search(session, question), held)
        session.rollback()
        grounded.numbers.append(assessment.numbers)
        grounded.scores.append(assessment.score)
        grounded.answerable.append(bool(row["answerable"]))
        progress(number, len(rows))
    if len(set(grounded.answerable)) < 2:
        raise BadData(f"{file} needs questions of both kinds, answerable and not.")
    return grounded, taught


def grounding_figures(scores: Sequence[float], answerable: Sequence[bool]) -> dict[str, Any]:
    """How well scores tell answerable questions from the others.

    ``answer_rate`` is the share of answerable questions that are answered, ``false_answer_rate`` that of the others.
    """
    pairs = list(zip(scores, answerable, strict=True))
    covered = sorted((score for score, label in pairs if label), reverse=True)
    uncovered = [score for score, label in pairs if not label]
    threshold = current().settings.grounding_strong
    return {
        "auroc": round(auroc(covered, uncovered), 4),
        "answer_rate": _share_from(covered, threshold),
        "false_answer_rate": _share_from(uncovered, threshold),
        "false_answer_rate_at": {
            str(rate): _share_from(uncovered, covered[max(math.ceil(rate * len(covered)) - 1, 0)])
            for rate in (0.5, 0.8)
        },
        "threshold": threshold,
        "n": len(pairs),
    }


def figures(rankings: Sequence[Sequence[str]], relevant: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The usual figures over questions, rounded to four places."""
    if not rankings:
        raise BadData("There is no judged question.")
    pairs = list(zip(rankings, relevant, strict=True))
    first = [
        next((place for place, name in enumerate(ranking[:DEPTH], 1) if grades.get(name, 0) > 0), None)
        for ranking, grades in pairs
    ]
    return {
        "ndcg@10": round(mean(_ndcg(ranking, grades) for ranking, grades in pairs), 4),
        "mrr@10": round(mean(1 / place if place else 0 for place in first), 4),
        "hit@1": round(mean(place == 1 for place in first), 4),
        "recall@5": round(mean(place is not None and place <= 5 for place in first), 4),
        "recall@10": round(mean(place is not None for place in first), 4),
    }


def auroc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """How often a positive scores above a negative; a tie counts half."""
    ordered = sorted([(score, 1) for score in positive] + [(score, 0) for score in negative])
    ranks = 0.0
    at = 0
    while at < len(ordered):
        end = at
        while end < len(ordered) and ordered[end][0] == ordered[at][0]:
            end += 1
        ranks += sum(label for _, label in ordered[at:end]) * (at + 1 + end) / 2
        at = end
    count = len(positive)
    return (ranks - count * (count + 1) / 2) / (count * len(negative))


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which this share lies, rounded to a hundredth."""
    ordered = sorted(values)
    return round(ordered[min(int(share * len(ordered)), len(ordered) - 1)], 2)


def _ndcg(ranking: Sequence[str], grades: Mapping[str, float]) -> float:
    gained = sum(grades.get(name, 0) / math.log2(place + 1) for place, name in enumerate(ranking[:DEPTH], 1))
    ideal = sorted(grades.values(), reverse=True)[:DEPTH]
    return gained / sum(grade / math.log2(place + 1) for place, grade in enumerate(ideal, 1))


def _share_from(scores: Sequence[float], threshold: float) -> float:
    return round(mean(score >= threshold for score in scores), 4)


def _stranger(session: Session, number: int) -> tuple[int, int]:
    """A customer nobody else is, and a conversation of theirs: their ids."""
    moment = now()
    customer = {"ref": f"customer-{number}", "created_at": moment, "last_seen_at": moment}
    customer_id = session.execute(insert(CustomerRecord).returning(CustomerRecord.id), customer).scalar_one()
    conversation = {
        "customer_id": customer_id,
        "channel": "eval",
        "subject": "A question",
        "status": ConversationStatus.OPEN,
        "last_sequence": 1,
        "last_message_at": moment,
        "preview": "",
        "last_spoken_at": moment,
        "last_customer_sequence": 1,
        "customer_seen": 0,
        "created_at": moment,
    }
    return customer_id, session.execute(insert(Conversation).returning(Conversation.id), conversation).scalar_one()


def _publish(session: Session, number: int, document: Document) -> indexing.Source:
    moment = now()
    title = (document.title.strip() or document.id)[:300]
    article_id = session.execute(
        insert(Article).returning(Article.id),
        {
            "slug": f"document-{number}",
            "title": title,
            "state": ArticleState.PUBLISHED,
            "audience": Audience.PUBLIC,
            "tags": [],
            "created_at": moment,
            "updated_at": moment,
        },
    ).scalar_one()
    body = document.text.replace("\x00", "")
    revision_id = session.execute(
        insert(Revision).returning(Revision.id),
        {
            "article_id": article_id,
            "number": 1,
            "state": RevisionState.PUBLISHED,
            "title": title,
            "body": body,
            "digest": hashlib.sha256(body.encode()).hexdigest(),
            "author_id": "system:eval",
            "author_name": "Evaluation",
            "created_at": moment,
            "published_at": moment,
        },
    ).scalar_one()
    return indexing.Source(article_id, revision_id, title, body)


def read_lines(path: Path, *needed: str) -> Iterator[dict[str, Any]]:
    """The objects of a file of JSON lines.

    Args:
        needed: keys that each of them has.

    Raises:
        BadData: the file is missing, or a line is not in the format.
    """
    try:
        with path.open(encoding="utf-8") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    row = json.loads(line)
                    if not isinstance(row, dict) or any(key not in row for key in needed):
                        raise BadData(f"{path}, line {number}: needs {', '.join(needed)}.")
                    yield row
    except (OSError, ValueError) as fault:
        raise BadData(f"{path} cannot be read: {fault}") from fault
