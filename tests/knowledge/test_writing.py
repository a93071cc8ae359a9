"""Writing articles: the lock, restoring, publishing at a time, and what is not allowed."""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from flask_cairnloop.actors import Actor
from flask_cairnloop.audit.models import AuditEntry
from flask_cairnloop.clock import now
from flask_cairnloop.errors import IllegalTransition, InvalidInput, NotFound, StaleArticle
from flask_cairnloop.jobs import service as jobs
from flask_cairnloop.jobs.models import Job
from flask_cairnloop.knowledge import merging, service
from flask_cairnloop.knowledge.models import Article, ArticleState, Audience
from flask_cairnloop.knowledge.service import Words
from flask_cairnloop.testing import enqueued, frozen, run_jobs
from tests.support.host import OPERATORS

MINA, OMAR = Actor.operator(OPERATORS["mina"]), Actor.operator(OPERATORS["omar"])


def words(body: str = "We open at nine.", title: str = "Hours", **changes: Any) -> Words:
    return Words(**{"slug": f"s-{uuid.uuid4().hex[:8]}", "title": title, "body": body} | changes)


@pytest.fixture
def article(session: Session) -> Article:
    """An article of which version 1 is published."""
    made = service.create_article(session, words(), actor=MINA)
    service.publish(session, made.id, actor=MINA)
    session.commit()
    return made


def edit(session: Session, article: Article, body: str, *, edits: int | None = None, actor: Actor = MINA) -> Article:
    same = Words(article.slug, article.title, body)
    at = article.edits if edits is None else edits
    return service.edit_article(session, article.id, same, edits=at, actor=actor)


def draft(session: Session, article: Article) -> str:
    found = service.draft_of(session, article.id)
    assert found is not None
    return found.body


# --- the lock ---


def test_a_save_over_somebody_elses_newer_draft_changes_nothing(session: Session, article: Article) -> None:
    seen = article.edits
    edit(session, article, "We open at eight.", actor=OMAR)
    session.commit()
    with pytest.raises(StaleArticle) as stale:
        edit(session, article, "We open at ten.", edits=seen)
    session.rollback()
    assert (stale.value.seen, stale.value.newest) == (seen, seen + 1)
    assert draft(session, article) == "We open at eight."


def test_what_describes_an_article_is_under_the_same_lock(session: Session, article: Article) -> None:
    seen = article.edits
    described = Words(article.slug, "Hours", "We open at nine.", "Shop", ("open",), Audience.INTERNAL, "en")
    service.edit_article(session, article.id, described, edits=seen, actor=OMAR)
    session.commit()
    assert (article.category, article.tags, article.audience, article.language) == ("Shop", ["open"], "internal", "en")
    assert service.draft_of(session, article.id) is None  # its words are as they were
    with pytest.raises(StaleArticle):
        edit(session, article, "We open at ten.", edits=seen)
    session.rollback()


def test_a_save_whose_answer_got_lost_may_come_again(session: Session, article: Article) -> None:
    seen = article.edits
    for _ in range(2):
        edit(session, article, "We open at eight.", edits=seen)
        session.commit()
    assert article.edits == seen + 1


def test_of_two_saves_at_the_same_moment_one_is_told_so(app: Flask, article: Article) -> None:
    number, seen, slug = article.id, article.edits, article.slug
    start, outcomes = threading.Barrier(2), []

    def save(actor: Actor) -> None:
        with app.app_context():
            session = app.extensions["sqlalchemy"].session
            start.wait()
            try:
                mine = Words(slug, "Hours", f"Words of {actor.name}.")
                service.edit_article(session, number, mine, edits=seen, actor=actor)
                session.commit()
                outcomes.append("saved")
            except StaleArticle:
                session.rollback()
                outcomes.append("told")

    threads = [threading.Thread(target=save, args=(actor,)) for actor in (MINA, OMAR)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["saved", "told"]


def test_unseen_words_are_neither_published_nor_thrown_away(session: Session, article: Article) -> None:
    seen = edit(session, article, "We open at eight.").edits
    edit(session, article, "We open at ten.", actor=OMAR)
    session.commit()
    steps: list[Callable[[], object]] = [
        lambda: service.publish(session, article.id, edits=seen, actor=MINA),
        lambda: service.schedule(session, article.id, now() + timedelta(hours=1), edits=seen, actor=MINA),
        lambda: service.discard_draft(session, article.id, edits=seen, actor=MINA),
        lambda: service.restore_revision(session, article.id, 1, edits=seen, actor=MINA),
    ]
    for step in steps:
        with pytest.raises(StaleArticle):
            step()
        session.rollback()
    assert draft(session, article) == "We open at ten."


# --- slugs ---


def test_slugs_are_made_from_titles_and_never_taken_twice(session: Session) -> None:
    title = f"Opening hours {uuid.uuid4().hex[:6]}"
    first = service.create_article(session, words(title=title, slug=""), actor=MINA)
    second = service.create_article(session, words(title=title, slug=""), actor=MINA)
    assert (first.slug, second.slug) == (service.slugify(title), f"{service.slugify(title)}-2")
    with pytest.raises(InvalidInput, match="Another article"):
        service.create_article(session, words(slug=first.slug), actor=MINA)
    other = Words(first.slug, second.title, "Words.")
    with pytest.raises(InvalidInput, match="Another article"):
        service.edit_article(session, second.id, other, edits=second.edits, actor=MINA)
    session.rollback()


# --- restoring, discarding, archiving ---


def test_an_older_version_comes_back_as_a_draft(session: Session, article: Article) -> None:
    edit(session, article, "We open at eight.")
    service.publish(session, article.id, actor=MINA)
    restored = service.restore_revision(session, article.id, 1, edits=article.edits, actor=OMAR)
    session.commit()
    assert restored is not None
    assert (restored.number, restored.body, restored.author_name) == (3, "We open at nine.", "Omar Reyes")
    published = service.published_revision(session, article.id)
    assert published is not None
    assert published.body == "We open at eight."
    with pytest.raises(IllegalTransition):
        service.restore_revision(session, article.id, 3, edits=article.edits, actor=OMAR)
    with pytest.raises(NotFound):
        service.restore_revision(session, article.id, 99, edits=article.edits, actor=OMAR)


def test_going_back_to_what_is_published_leaves_no_draft(session: Session, article: Article) -> None:
    edit(session, article, "We open at eight.")
    assert service.restore_revision(session, article.id, 1, edits=article.edits, actor=MINA) is None
    session.commit()
    assert service.draft_of(session, article.id) is None


def test_what_was_never_published_goes_with_its_draft(session: Session, article: Article) -> None:
    begun = service.create_article(session, words(), actor=MINA)
    number = begun.id
    assert not service.discard_draft(session, number, edits=begun.edits, actor=MINA)
    edit(session, article, "We open at eight.")
    assert service.discard_draft(session, article.id, edits=article.edits, actor=MINA)
    session.commit()
    assert session.scalar(select(Article.id).where(Article.id == number)) is None
    assert article.state is ArticleState.PUBLISHED
    assert session.scalars(
        select(AuditEntry.action).where(AuditEntry.subject_type == "article", AuditEntry.subject_id == number)
    ).all() == ["article.save", "article.discard"]


def test_archiving_is_undone_without_publishing_the_draft(session: Session, article: Article) -> None:
    edit(session, article, "We open at eight.")
    service.archive(session, article.id, actor=MINA)
    service.unarchive(session, article.id, actor=MINA)
    session.commit()
    published = service.published_revision(session, article.id)
    assert published is not None
    assert (article.state, published.body) == (ArticleState.PUBLISHED, "We open at nine.")
    assert draft(session, article) == "We open at eight."


@pytest.mark.parametrize(
    ("before", "step"),
    [
        ("published", lambda s, a: service.publish(s, a.id, actor=MINA)),
        ("published", lambda s, a: service.unarchive(s, a.id, actor=MINA)),
        ("published", lambda s, a: service.unschedule(s, a.id, actor=MINA)),
        ("published", lambda s, a: service.discard_draft(s, a.id, edits=a.edits, actor=MINA)),
        ("published", lambda s, a: service.schedule(s, a.id, now() + timedelta(1), edits=a.edits, actor=MINA)),
        ("draft", lambda s, a: service.archive(s, a.id, actor=MINA)),
        ("draft", lambda s, a: service.verify(s, a.id, actor=MINA)),
        ("archived", lambda s, a: service.archive(s, a.id, actor=MINA)),
        ("archived", lambda s, a: service.verify(s, a.id, actor=MINA)),
    ],
)
def test_steps_that_the_state_does_not_allow_change_nothing(
    session: Session, before: str, step: Callable[[Session, Article], object]
) -> None:
    made = service.create_article(session, words(), actor=MINA)
    if before != "draft":
        service.publish(session, made.id, actor=MINA)
    if before == "archived":
        service.archive(session, made.id, actor=MINA)
    session.commit()
    edits, changed = made.edits, made.updated_at
    with pytest.raises(IllegalTransition):
        step(session, made)
    session.commit()
    assert (made.state.value, made.edits, made.updated_at) == (before, edits, changed)


# --- at a time ---


def due(session: Session, article: Article, body: str = "We open at eight.", hours: float = 5) -> datetime:
    edit(session, article, body)
    at = now() + timedelta(hours=hours)
    service.schedule(session, article.id, at, edits=article.edits, actor=MINA)
    session.commit()
    return at


def body_of(session: Session, article: Article) -> str:
    session.expire_all()
    found = service.published_revision(session, article.id)
    assert found is not None
    return found.body


def test_a_draft_is_published_at_its_time_and_not_before(app: Flask, session: Session, article: Article) -> None:
    at = due(session, article)
    run_jobs(app)
    assert body_of(session, article) == "We open at nine."
    session.rollback()
    with frozen(at + timedelta(seconds=1)):
        run_jobs(app)
        run_jobs(app)
    assert body_of(session, article) == "We open at eight."
    assert (article.publish_at, article.publish_problem) == (None, None)
    published = select(AuditEntry).where(AuditEntry.action == "article.publish", AuditEntry.subject_id == article.id)
    assert [entry.actor_id for entry in session.scalars(published)] == ["mina", "system:knowledge.publish"]


def test_a_time_that_was_taken_back_or_moved_publishes_nothing(app: Flask, session: Session, article: Article) -> None:
    at = due(session, article)
    later = due(session, article, "We open at seven.", hours=9)
    assert len([each for each in enqueued(app, service.PUBLISH) if each[1]["article_id"] == article.id]) == 1
    with frozen(at + timedelta(seconds=1)):
        run_jobs(app)
    assert body_of(session, article) == "We open at nine."
    service.unschedule(session, article.id, actor=MINA)
    session.commit()
    with frozen(later + timedelta(seconds=1)):
        run_jobs(app)
    assert body_of(session, article) == "We open at nine."
    assert article.publish_problem is None


def test_a_draft_that_changed_after_its_time_was_set_is_not_published_and_says_why(
    app: Flask, session: Session, article: Article
) -> None:
    at = due(session, article)
    edit(session, article, "Somebody wrote on.", actor=OMAR)
    session.commit()
    with frozen(at + timedelta(seconds=1)):
        run_jobs(app)
    assert body_of(session, article) == "We open at nine."
    assert article.publish_at is None
    assert article.publish_problem == "Omar Reyes changed the draft after Mina Keller had set the time."
    service.publish(session, article.id, actor=MINA)
    session.commit()
    assert article.publish_problem is None


def test_a_worker_that_dies_on_the_way_costs_time_and_publishes_once(
    app: Flask, session: Session, article: Article
) -> None:
    """The row of the job outlives whoever claims it; what a second run finds done, it leaves alone."""
    at = due(session, article)
    with frozen(at + timedelta(seconds=1)):
        claimed = update(Job).where(Job.unique_key == f"{service.PUBLISH}:{article.id}")
        session.execute(claimed.values(state="running", claimed_by="dead", attempt=1, lease_until=at))
        session.commit()
        app.extensions["cairnloop"].redis.flushdb()
        run_jobs(app)
        assert body_of(session, article) == "We open at nine."
        session.execute(claimed.values(state="queued", claimed_by=None, lease_until=at))  # as the relay gives it back
        session.commit()
        run_jobs(app)
    assert body_of(session, article) == "We open at eight."
    assert article.publish_problem is None


def test_a_job_that_is_discarded_leaves_its_reason(app: Flask, session: Session, article: Article) -> None:
    due(session, article)
    job = session.scalar(select(Job.id).where(Job.unique_key == f"{service.PUBLISH}:{article.id}"))
    assert job is not None
    jobs.discard(session, job, actor=OMAR)
    session.commit()
    assert article.publish_problem == "Omar Reyes discarded the job."
    assert article.publish_at is None


@pytest.mark.parametrize("away", [timedelta(seconds=-1), timedelta(days=400)])
def test_a_time_that_is_past_or_far_away_is_refused(session: Session, article: Article, away: timedelta) -> None:
    edit(session, article, "We open at eight.")
    with pytest.raises(InvalidInput):
        service.schedule(session, article.id, datetime.now(UTC) + away, edits=article.edits, actor=MINA)
    session.rollback()


# --- two versions ---


BASE = "One.\n\nTwo is here.\n\nThree."


def test_what_only_one_side_changed_is_chosen_by_itself() -> None:
    theirs = words("One, changed by them.\n\nTwo is here.\n\nThree.\n\nFour is theirs.")
    mine = words("One.\n\nTwo is there.\n\nThree.", slug=theirs.slug)
    found = merging.pieces(BASE, theirs.body, mine.body)
    assert None not in [piece.choice for piece in found]
    merged = merging.merged(found, theirs, mine, {})
    assert merged.body == "One, changed by them.\n\nTwo is there.\n\nThree.\n\nFour is theirs."


def test_what_both_changed_is_asked_and_kept_twice_where_nobody_says() -> None:
    theirs, mine = words("One.\n\nTwo is theirs here.\n\nThree."), words("One.\n\nTwo is mine here.\n\nThree.")
    found = merging.pieces(BASE, theirs.body, mine.body)
    (at,) = [number for number, piece in enumerate(found) if piece.choice is None]
    texts = {
        side: merging.merged(found, theirs, mine, {f"p{at}": side}).body for side in ("theirs", "mine", "nonsense")
    }
    assert texts["theirs"] == theirs.body
    assert texts["mine"] == mine.body
    assert "theirs here" in texts["nonsense"]
    assert "mine here" in texts["nonsense"]


def test_without_a_base_nothing_of_either_is_left_out() -> None:
    theirs, mine = words("One.\n\nOnly theirs.\n\nThree."), words("One.\n\nThree.\n\nOnly mine.")
    merged = merging.merged(merging.pieces("", theirs.body, mine.body), theirs, mine, {"f-slug": "theirs"})
    assert merged.body == "One.\n\nOnly theirs.\n\nThree.\n\nOnly mine."
    assert merged.slug == theirs.slug


def test_neighbouring_paragraphs_of_two_people_are_not_taken_for_one() -> None:
    base = "One.\n\nTwo.\n\nThree.\n\nFour."
    theirs = words("One.\n\nTwo.\n\nThree by Omar.\n\nAdded by Omar.")
    mine = words("One by Mina.\n\nTwo by Mina.\n\nAdded by Mina.\n\nThree.\n\nFour.")
    found = merging.pieces(base, theirs.body, mine.body)
    merged = merging.merged(found, theirs, mine, {})
    assert merged.body.split("\n\n") == [
        *("One by Mina.", "Two by Mina.", "Added by Mina.", "Three by Omar.", "Added by Omar."),
    ]
    assert None not in [piece.choice for piece in found]


def test_whatever_two_people_did_all_of_either_can_be_had_and_nothing_new_is_lost() -> None:
    chance = random.Random(3)  # noqa: S311 - texts for a test

    def edited(text: list[str]) -> list[str]:
        text = list(text)
        for step in chance.choices(("write on", "add", "take out"), k=chance.randint(0, 3)):
            at = chance.randrange(len(text) + 1)
            if step == "add":
                text.insert(at, f"new {chance.random()}.")
            elif at < len(text):
                text[at : at + 1] = [f"{text[at]} new {chance.random()}"] if step == "write on" else []
        return text

    for _ in range(300):
        base = chance.choices(("a b c.", "d e f.", "g h.", "one two three.", "x"), k=chance.randint(1, 6))
        theirs, mine = edited(base), edited(base)
        found = merging.pieces(*("\n\n".join(text) for text in (base, theirs, mine)))

        def merged(side: str, found: list[merging.Piece] = found) -> str:
            chosen = {f"p{number}": side for number in range(len(found))} if side else {}
            return merging.merged(found, words(), words(), chosen).body

        assert merged("theirs") == "\n\n".join(theirs)
        assert merged("mine") == "\n\n".join(mine)
        assert [text for text in theirs + mine if "new" in text and text not in merged("")] == []
