"""A small library's help pages, in a domain of their own, and ways to publish articles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select
from sqlalchemy.orm import Session

from flask_cairnloop.actors import Actor
from flask_cairnloop.knowledge.models import Article
from flask_cairnloop.knowledge.service import publish, save_article
from flask_cairnloop.retrieval import evaluation
from flask_cairnloop.testing import run_jobs

LIBRARY = Path(__file__).parent / "data" / "library"
ACTOR = Actor.system("test")
Publish = Callable[..., Article]


@pytest.fixture
def library_folder() -> Path:
    return LIBRARY


@pytest.fixture
def library(session: Session) -> Session:
    """The session, on a database that holds the library's articles, indexed once a module."""
    if session.scalar(select(Article.id).where(Article.slug == "document-1")) is None:
        evaluation.load(session, evaluation.read_corpus(LIBRARY), lambda _done, _total: None)
    return session


@pytest.fixture
def publish_article(app: Flask, session: Session) -> Publish:
    """``publish_article(slug, body, title=..., audience=...)`` publishes, commits and indexes."""

    def make(slug: str, body: str, *, index: bool = True, title: str = "", **about: Any) -> Article:
        article = save_article(session, slug=slug, title=title or slug, body=body, actor=ACTOR, **about)
        publish(session, article.id, actor=ACTOR)
        session.commit()
        if index:
            run_jobs(app)
        return article

    return make
