"""``kb import``: folders and files become published articles, again and again without harm."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import Result
from flask import Flask
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from flask_cairnloop.jobs.models import Job
from flask_cairnloop.knowledge.importer import ImportFailed, SourceFile, parse, slugify
from flask_cairnloop.knowledge.models import Article, ArticleState, Audience, Revision
from flask_cairnloop.knowledge.service import published_revision

FULL = """---
title: "Refunds: how they work"
slug: refunds
topics: ["Billing", "Money"]
tags: [refund, money]
locale: en-US
source: https://help.example/refunds
audience: internal
---

# Refunds: How they  work

Within 14 days.

## When

Soon.
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "refunds.md").write_text(FULL)
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "Plans & prices.markdown").write_text("# Plans\n\nThere are three.\n")
    (tmp_path / ".hidden.md").write_text("never read")
    (tmp_path / "notes.txt").write_text("never read")
    (tmp_path / "link.md").symlink_to(tmp_path / "refunds.md")
    return tmp_path


def run(app: Flask, *paths: Path) -> Result:
    return app.test_cli_runner().invoke(args=["cairnloop", "kb", "import", *map(str, paths)])


def article(session: Session, slug: str) -> Article:
    session.expire_all()
    return session.scalars(select(Article).where(Article.slug == slug)).one()


def test_front_matter_describes_the_article_and_the_title_is_not_said_twice(
    app: Flask, session: Session, folder: Path
) -> None:
    result = run(app, folder)
    assert result.exit_code == 0, result.output
    assert "2 files: 2 created." in result.output
    refunds = article(session, "refunds")
    assert (refunds.title, refunds.state) == ("Refunds: how they work", ArticleState.PUBLISHED)
    assert (refunds.category, refunds.tags, refunds.language) == ("Billing", ["refund", "money"], "en-US")
    assert (refunds.audience, refunds.source_url) == (Audience.INTERNAL, "https://help.example/refunds")
    revision = published_revision(session, refunds.id)
    assert revision is not None
    assert revision.body == "Within 14 days.\n\n## When\n\nSoon."
    assert article(session, "deeper-plans-prices").title == "Plans"


def test_a_rerun_changes_nothing_and_says_so(app: Flask, session: Session, folder: Path) -> None:
    run(app, folder)

    def counts() -> tuple[int | None, ...]:
        return tuple(session.scalar(select(func.count()).select_from(table)) for table in (Article, Revision, Job))

    before = counts()
    result = run(app, folder)
    session.rollback()
    assert "2 files: 2 unchanged." in result.output
    assert counts() == before


def test_a_changed_file_supersedes_and_changed_tags_do_not(app: Flask, session: Session, folder: Path) -> None:
    run(app, folder)
    (folder / "refunds.md").write_text(FULL.replace("14 days", "30 days"))
    assert "1 updated, 1 unchanged" in run(app, folder).output
    number = session.scalar(select(func.max(Revision.number)).where(Revision.title.startswith("Refunds:")))
    (folder / "refunds.md").write_text(FULL.replace("14 days", "30 days").replace("refund, money", "refund"))
    assert "1 updated, 1 unchanged" in run(app, folder).output
    session.rollback()
    assert article(session, "refunds").tags == ["refund"]
    assert session.scalar(select(func.max(Revision.number)).where(Revision.title.startswith("Refunds:"))) == number


def test_a_bad_file_is_named_and_the_others_are_imported(app: Flask, session: Session, tmp_path: Path) -> None:
    (tmp_path / "a-good.md").write_text("# A good one\n\nText.")
    (tmp_path / "b-latin.md").write_bytes(b"# Caf\xe9\n\nText.")
    (tmp_path / "c-yaml.md").write_text("---\ntitle: [unclosed\n---\ntext")
    (tmp_path / "d-empty.md").write_text("---\ntitle: Empty\n---\n")
    (tmp_path / "e-large.md").write_text("x" * 1_000_001)
    (tmp_path / "f-again.md").write_text("---\nslug: a-good\n---\n# Again\n\nText.")
    (tmp_path / "g-good.md").write_text("# Another good one\n\nText.")
    result = run(app, tmp_path)
    assert result.exit_code == 1
    assert "7 files: 2 created, 5 failed." in result.output
    for said in ("not UTF-8", "not valid YAML", "has no text", "larger than", "which"):
        assert said in result.output
    assert article(session, "a-good").title == "A good one"


def test_no_path_or_a_missing_one_is_an_error_of_usage(app: Flask, tmp_path: Path) -> None:
    assert run(app).exit_code == 2
    assert run(app, tmp_path / "nothing").exit_code == 2


@pytest.mark.parametrize(
    "front",
    [
        "title: {a: b}",
        "tags: {a: b}",
        "audience: staff",
        "audience: Internal use only",
        "audience: pubic",
        "tags: [[a]]",
    ],
)
def test_front_matter_that_is_not_understood_is_refused(tmp_path: Path, front: str) -> None:
    file = tmp_path / "odd.md"
    file.write_text(f"---\n{front}\n---\n# Odd\n\nText.")
    with pytest.raises(ImportFailed):
        parse(SourceFile(file, "odd"))


def test_titles_fall_back_to_the_first_heading_then_to_the_name(tmp_path: Path) -> None:
    file = tmp_path / "how-to-print.md"
    file.write_text("Intro.\n\n## Printing *well*\n\nText.")
    assert parse(SourceFile(file, "x")).title == "Printing well"
    file.write_text("Just text.")
    assert parse(SourceFile(file, "x")).title == "how to print"


def test_slugs_are_plain() -> None:
    assert slugify("Über uns/Café — №1") == "uber-uns-cafe-no1"
    assert slugify("日本") == slugify("日本")
    assert slugify("日本").startswith("article-")
