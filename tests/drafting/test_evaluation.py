"""``flask cairnloop eval drafts`` writes real drafts of the built-in engine into a report, and counts them honestly."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import text
from sqlalchemy.orm import Session

from flask_cairnloop.drafting.engine import compose, lexical_likeness
from flask_cairnloop.drafting.evaluation import Written
from flask_cairnloop.retrieval.scratch import PREFIX
from flask_cairnloop.retrieval.types import Strength
from tests.drafting.test_engine import DESCALING, LIMIT, grounding, passage

ARTICLES = {
    "Hiring a bicycle": "You can hire a bicycle at the harbour kiosk.\n\n1. Show your pass at the counter.\n"
    "2. Choose a bicycle from the rack.\n3. Sign the slip.",
    "Flat tyres": "This article describes flat tyres.\n\nTo mend a flat tyre of a hired bicycle:\n\n"
    "1. Take the wheel off.\n2. Find the hole in the tube.\n3. Glue a patch on it.\n\nSee also Hiring a bicycle.",
    "Opening hours": "The kiosk is open from nine to five, and closed on Mondays in winter.",
    "Deposits": "A deposit of twenty is returned when the bicycle comes back in one piece.",
}
QUESTIONS = [
    {"title": "Flat tyre", "body": "How do I mend a flat tyre of the bicycle that I hired?"},
    {"title": "Recipes", "body": "Which flour should I choose for pancakes with blueberries and cream on top?"},
    {"title": "Help", "body": "It does not work"},
]


@pytest.fixture
def kiosk(tmp_path: Path) -> Path:
    """A folder with a small knowledge base, and the questions of its customers."""
    documents = [
        {"_id": str(number), "title": title, "text": words} for number, (title, words) in enumerate(ARTICLES.items())
    ]
    (tmp_path / "corpus.jsonl").write_text("\n".join(map(json.dumps, documents)), encoding="utf-8")
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, QUESTIONS)), encoding="utf-8")
    return tmp_path


def arguments(kiosk: Path, *more: str) -> list[str]:
    report = str(kiosk / "report.md")
    return [
        "cairnloop",
        "eval",
        "drafts",
        str(kiosk / "questions.jsonl"),
        "--kb",
        str(kiosk),
        "--report",
        report,
        *more,
    ]


def test_every_draft_is_written_in_full_and_counted(app: Flask, session: Session, kiosk: Path) -> None:
    result = app.test_cli_runner().invoke(args=arguments(kiosk, "--json"))
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["n"], told["reply"], told["clarification"], told["escalation"]) == (3, 1, 1, 1)
    assert (told["citations"], told["citations_unfound"]) == (1, 0)
    assert (told["statements"], told["statements_without_source"]) == (4, 0)
    report = (kiosk / "report.md").read_text(encoding="utf-8")
    assert report.count("\n## ") == 2  # and one at its start
    assert "> How do I mend a flat tyre of the bicycle that I hired?" in report
    steps = ("To mend a flat tyre", "1. Take the wheel off.", "2. Find the hole", "3. Glue a patch on it. [1]")
    places = [report.index(step) for step in steps]
    assert places == sorted(places)
    assert "This article describes" not in report
    assert "See also" not in report
    session.rollback()
    left = text("SELECT count(*) FROM pg_namespace WHERE starts_with(nspname, :prefix)")
    assert session.execute(left, {"prefix": PREFIX}).scalar_one() == 0
    assert session.execute(text("SELECT count(*) FROM cairnloop.articles")).scalar_one() == 0


def test_a_few_are_drawn_evenly_over_the_file(app: Flask, kiosk: Path) -> None:
    many = [{"title": f"Bicycle {number}", "body": "I want to hire it."} for number in range(10)]
    (kiosk / "questions.jsonl").write_text("\n".join(map(json.dumps, many)), encoding="utf-8")
    result = app.test_cli_runner().invoke(args=arguments(kiosk, "--most", "3"))
    assert result.exit_code == 0, result.output
    assert "reply" in result.stdout
    report = (kiosk / "report.md").read_text(encoding="utf-8")
    assert [number for number in range(10) if f"> Bicycle {number}\n" in report] == [0, 3, 6]


def test_what_cannot_be_read_or_written_is_said(app: Flask, kiosk: Path) -> None:
    (kiosk / "questions.jsonl").write_text('{"title": "No body"}', encoding="utf-8")
    result = app.test_cli_runner().invoke(args=arguments(kiosk))
    assert result.exit_code == 1
    assert "body" in result.output
    (kiosk / "questions.jsonl").write_text("", encoding="utf-8")
    elsewhere = [*arguments(kiosk)[:-1], str(kiosk / "none" / "report.md")]
    result = app.test_cli_runner().invoke(args=elsewhere)
    assert result.exit_code == 1
    assert "cannot be written" in result.output


def test_what_has_no_source_is_found() -> None:
    asked = grounding(Strength.STRONG, passage(1, DESCALING))
    honest = compose(asked, lexical_likeness, LIMIT)
    assert not Written(asked, honest).sourceless
    assert len(Written(asked, honest).statements) == 6
    made_up = replace(honest, body=honest.body.replace("ten seconds", "two seconds"))
    assert Written(asked, made_up).sourceless == ["Hold the Clean button for two seconds."]
    (citation,) = honest.citations
    misquoted = replace(honest, citations=(replace(citation, quote="Empty the filter and remove the tank."),))
    assert Written(asked, misquoted).unfound == [citation.title]
    elsewhere = replace(honest, citations=(replace(citation, chunk_id=2),))
    assert Written(asked, elsewhere).unfound == [citation.title]
    assert Written(asked, elsewhere).sourceless
