"""What the built-in engine writes for a set of questions: every draft in full, and what is counted of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from sqlalchemy.orm import Session

from flask_cairnloop.context import current
from flask_cairnloop.drafting import engine, marks, question
from flask_cairnloop.drafting.blocks import blocks_of
from flask_cairnloop.drafting.jobs import EVIDENCE, likeness_by, quotable
from flask_cairnloop.drafting.types import DraftKind, Grounding, Proposal
from flask_cairnloop.retrieval.evaluation import Progress, load, read_corpus, read_lines
from flask_cairnloop.retrieval.grounding import assess, calibration
from flask_cairnloop.retrieval.search import search


@dataclass(frozen=True, slots=True)
class Written:
    """A draft, and what it was written for."""

    grounding: Grounding
    proposal: Proposal

    @property
    def sourceless(self) -> list[str]:
        """Lines of the answer that no passage it cites has, besides greeting and closing."""
        cited = {citation.chunk_id for citation in self.proposal.citations}
        sources = [
            _squeezed("\n".join(block.text for block in blocks_of(passage.content)))
            for passage in self.grounding.passages
            if passage.chunk_id in cited
        ]
        return [line for line in self._said if not any(_squeezed(line) in source for source in sources)]

    @property
    def _said(self) -> list[str]:
        lines = [line for line in marks.sent(self.proposal).split("\n") if line.strip()]
        return lines[1:-1] if self.proposal.kind is DraftKind.REPLY else []

    @property
    def unfound(self) -> list[str]:
        """Titles of citations whose quoted words do not stand in the passage they name."""
        texts = {passage.chunk_id: passage.content for passage in self.grounding.passages}
        return [
            citation.title
            for citation in self.proposal.citations
            if _squeezed(citation.quote.rstrip("…"))
            not in _squeezed("\n".join(block.text for block in blocks_of(texts.get(citation.chunk_id, ""))))
        ]


def evaluate_drafts(
    session: Session, file: Path, folder: Path, report: Path, progress: Progress, most: int
) -> dict[str, Any]:
    """Write a draft for each question of a file over the documents of a folder, all of them into a report.

    Args:
        file: JSON lines with ``title`` and ``body``.
        folder: with ``corpus.jsonl``.
        report: the Markdown file to write; it holds customers' words.
        most: so many questions at most, evenly drawn over the file.

    Raises:
        BadData: a file is not in the format.
    """
    rows = list(read_lines(file, "title", "body"))
    chosen = rows[:: max(len(rows) // most, 1)][:most]
    load(session, read_corpus(folder), progress)
    counts: Counter[str] = Counter()
    with report.open("w", encoding="utf-8") as stream:
        for number, row in enumerate(islice(chosen, most), 1):
            written = _write(session, str(row["title"]), str(row["body"]))
            session.rollback()
            _report(stream, number, written)
            counts.update(_counted(written))
            progress(number, len(chosen))
    names = ("reply", "clarification", "escalation", "citations", "citations_unfound", "statements_without_source")
    return {"n": len(chosen), **{name: counts[name] for name in names}}


def _write(session: Session, title: str, body: str) -> Written:
    cairnloop = current()
    asked = question.build(title, (body,))
    results = search(session, asked, limit=EVIDENCE)
    assessment = assess(asked, quotable(results), calibration(cairnloop.session()))
    grounding = Grounding(0, asked, title, (), results.passages, assessment, 0, None)
    limit = cairnloop.settings.message_limit
    return Written(grounding, engine.compose(grounding, likeness_by(cairnloop.hooks), limit))


def _counted(written: Written) -> Iterator[str]:
    yield written.proposal.kind.value
    yield from ("citations" for _ in written.proposal.citations)
    yield from ("citations_unfound" for _ in written.unfound)
    yield from ("statements_without_source" for _ in written.sourceless)


def _report(stream: TextIO, number: int, written: Written) -> None:
    grounding, proposal = written.grounding, written.proposal
    strength, score = grounding.assessment.strength.value, grounding.assessment.score
    stream.write(f"## {number}. {proposal.kind.value} ({strength}, {score:.2f})\n\n")
    stream.write(f"> {grounding.question.strip()}".replace("\n", "\n> ") + "\n\n")
    stream.write(f"{proposal.summary}\n\n```\n{proposal.body}\n```\n\n")
    for citation in proposal.citations:
        stream.write(f"- [{citation.number}] {citation.title} / {citation.heading}: {citation.quote}\n")
    for line in written.sourceless:
        stream.write(f"- without source: {line}\n")
    stream.write("\n")


def _squeezed(text: str) -> str:
    return " ".join(text.split())
