"""What the built-in engine writes for a set of questions: every draft in full, and what is counted of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from sqlalchemy.orm import Session

from flask_cairnloop.context import current
from flask_cairnloop.drafting import engine, manner, marks, question
from flask_cairnloop.drafting.blocks import blocks_of, sentences
from flask_cairnloop.drafting.jobs import EVIDENCE, likeness_by, quotable
from flask_cairnloop.drafting.types import DraftKind, Grounding, Proposal
from flask_cairnloop.retrieval.chunking import JOINT, plain_text
from flask_cairnloop.retrieval.evaluation import BadData, Progress, load, read_corpus, read_lines
from flask_cairnloop.retrieval.grounding import assess, calibration
from flask_cairnloop.retrieval.search import search
from flask_cairnloop.retrieval.types import Passage


@dataclass(frozen=True, slots=True)
class Written:
    """A draft, and what it was written for."""

    grounding: Grounding
    proposal: Proposal

    @property
    def statements(self) -> list[str]:
        """Sentences and steps of the answer.

        None are the host's greeting and closing, the customer's own words where a part is left open, and a line that
        names what follows as the article does.
        """
        named = {engine.announced(name) for passage in self._cited for name in _names(passage)}
        return [said for line in self._lines if line not in named for said in _statements(line)]

    @property
    def sourceless(self) -> list[str]:
        """Statements that do not stand in a passage the answer cites, word for word."""
        texts = [_words(plain_text(_PICTURE.sub(" ", passage.content))) for passage in self._cited]
        return [said for said in self.statements if not _stands(said, texts)]

    @property
    def _cited(self) -> list[Passage]:
        cited = {citation.chunk_id for citation in self.proposal.citations}
        return [passage for passage in self.grounding.passages if passage.chunk_id in cited]

    @property
    def _lines(self) -> list[str]:
        if self.proposal.kind is not DraftKind.REPLY:
            return []
        paragraphs = marks.sent(self.proposal).split("\n\n")
        framed = (engine.greeting(self.grounding), self.grounding.manner.closing.strip())
        kept = [text for text in paragraphs if text not in framed and not text.startswith(engine.NOT_COVERED)]
        return [line.strip() for text in kept for line in text.split("\n") if line.strip()]

    @property
    def unfound(self) -> list[str]:
        """Titles of citations whose quoted words do not stand in the passage they name."""
        texts = {
            passage.chunk_id: _words(plain_text(_PICTURE.sub(" ", passage.content)))
            for passage in self.grounding.passages
        }
        return [
            citation.title
            for citation in self.proposal.citations
            if not all(_stands(said, [texts.get(citation.chunk_id, "")]) for said in _quoted(citation.quote))
        ]


_PICTURE = re.compile(r"!\[[^\]]*\]\([^)]*\)")
_ADDRESS = re.compile(r"\s*\(https?://[^\s()]*(?:\([^\s()]*\)[^\s()]*)*\)|\S*https?://\S+")
_WORD = re.compile(r"[^\W_]+")
_MARKED = re.compile(r"(?<!\S)(?:\d{1,3}\.|-)(?=\s|$)")  # where items of a list begin in a quote
_ITEM = re.compile(r"^(?:\d{1,3}\.|-) ")


def _names(passage: Passage) -> list[str]:
    inner = [block.heading for block in blocks_of(passage.content)]
    return [passage.title, *(name for heading in (passage.heading, *inner) for name in heading.split(JOINT))]


def _statements(line: str) -> list[str]:
    return sentences(_ITEM.sub("", line))


def _quoted(quote: str) -> list[str]:
    return [said for part in _MARKED.split(quote.rstrip("…")) for said in sentences(part.strip())]


def _words(text: str) -> str:
    return f" {' '.join(_WORD.findall(_ADDRESS.sub(' ', text)))} "


def _stands(said: str, texts: Sequence[str]) -> bool:
    """Whether words stand in one of the texts in this order, with nothing between them but marks."""
    return any(_words(said) in text for text in texts)


def evaluate_drafts(
    session: Session, file: Path, folder: Path, report: Path, progress: Progress, most: int
) -> dict[str, Any]:
    """Write a draft for each question of a file over the documents of a folder, all of them into a report.

    Args:
        file: JSON lines with ``title`` and ``body``.
        folder: with ``corpus.jsonl``.
        report: the Markdown file to write; it holds customers' words.
        most: so many questions at most, evenly drawn over the file, the same each time.

    Returns:
        ``n``, how many drafts are a ``reply``, a ``clarification`` or an ``escalation``; ``citations``, and those
        ``citations_unfound`` whose words do not stand in their passage; ``statements``, and those ``without_source``.

    Raises:
        BadData: a file is not in the format, or the report cannot be written.
    """
    rows = list(read_lines(file, "title", "body"))
    documents = read_corpus(folder)
    try:
        stream = report.open("w", encoding="utf-8")  # before the long work, so that a mistake in its name shows at once
    except OSError as fault:
        raise BadData(f"{report} cannot be written: {fault}") from fault
    counts: Counter[str] = Counter(dict.fromkeys(_COUNTED, 0))
    with stream:
        load(session, documents, progress)
        for number, row in enumerate(chosen := _spread(rows, most), 1):
            written = _write(session, str(row["title"]), str(row["body"]))
            session.rollback()
            _report(stream, number, written)
            counts.update(_counted(written))
            progress(number, len(chosen))
    return {"n": len(chosen), **counts}


_COUNTED = (*DraftKind, "citations", "citations_unfound", "statements", "statements_without_source")


def _spread(rows: Sequence[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """So many rows, as far apart as they can be."""
    taken = min(most, len(rows))
    return [rows[place * len(rows) // taken] for place in range(taken)]


def _write(session: Session, title: str, body: str) -> Written:
    cairnloop = current()
    asked = question.build(title, (body,))
    results = search(session, asked, limit=EVIDENCE)
    assessment = assess(asked, quotable(results), calibration(cairnloop.session()))
    spoken = manner.of(cairnloop.settings)
    grounding = Grounding(0, asked, title, (), results.passages, assessment, 0, None, manner=spoken)
    limit = cairnloop.settings.message_limit
    return Written(grounding, engine.compose(grounding, likeness_by(cairnloop.hooks), limit))


def _counted(written: Written) -> Iterator[str]:
    yield written.proposal.kind.value
    yield from ("citations" for _ in written.proposal.citations)
    yield from ("citations_unfound" for _ in written.unfound)
    yield from ("statements" for _ in written.statements)
    yield from ("statements_without_source" for _ in written.sourceless)


def _report(stream: TextIO, number: int, written: Written) -> None:
    grounding, proposal = written.grounding, written.proposal
    strength, score = grounding.assessment.strength.value, grounding.assessment.score
    stream.write(f"## {number}. {proposal.kind.value} ({strength}, {score:.2f})\n\n")
    stream.write(f"> {grounding.question.strip()}".replace("\n", "\n> ") + "\n\n")
    stream.write(f"{proposal.summary}\n\n```\n{proposal.body}\n```\n\n")
    for citation in proposal.citations:
        stream.write(f"- [{citation.number}] {citation.title} / {citation.heading}: {citation.quote}\n")
    for title in written.unfound:
        stream.write(f"- not found: {title}\n")
    for line in written.sourceless:
        stream.write(f"- without source: {line}\n")
    stream.write("\n")
