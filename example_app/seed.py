"""``flask --app example_app seed``: some months of a support desk's life.

Nothing is written past the product: articles come in through its importer, messages through ``receive`` and ``reply``,
drafts are made by its engine in its jobs, and decided on through its services. Only the clock is held, so that all of
it happens when the story says. A second run finds every step by its key and changes nothing.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
from flask import Flask, current_app
from flask.cli import with_appcontext
from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from example_app import decisions, hooks, people, story
from example_app.models import SeedStep, User, db
from flask_cairnloop import Actor, DraftKind, Grounding, PolicyDecision, Proposal, clock, testing
from flask_cairnloop.conversations import mentions, triage
from flask_cairnloop.conversations import service as conversations
from flask_cairnloop.drafting import service as drafting
from flask_cairnloop.drafting.models import DraftState
from flask_cairnloop.governance import service
from flask_cairnloop.knowledge import importer
from flask_cairnloop.macros import service as macros
from flask_cairnloop.outbound import queries, templates
from flask_cairnloop.outbound import service as outbound
from flask_cairnloop.outbound.types import Source
from flask_cairnloop.service_levels import service as service_levels
from flask_cairnloop.upkeep import queries as gaps
from flask_cairnloop.upkeep import suggestions
from flask_cairnloop.upkeep.models import GapReason, GapSource, Shelf
from flask_cairnloop.upkeep.service import record_gap

HERE = Path(__file__).resolve().parent
# The desk's own work happens a moment after what caused it.
VISITOR = Actor.system("help centre")
A_MOMENT = timedelta(seconds=4)


@dataclass(frozen=True, slots=True)
class Moment:
    """A step of a conversation with its time."""

    at: datetime
    talk: story.Talk
    place: int
    step: story.Step

    @property
    def key(self) -> str:
        """What the step is known by for good."""
        return f"talk/{self.talk.slug}/{self.place}"


@click.command("seed")
@with_appcontext
def command() -> None:
    """Fill the demo: shops, people, articles and some months of conversations. Safe to run again."""
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    now = datetime.now(UTC)
    added = people.add_everybody(db.session(), now)
    db.session.commit()
    articles = _publish_articles(app, now)
    moments = [moment for moment in _timeline(now) if db.session.get(SeedStep, moment.key) is None]
    db.session.rollback()
    with click.progressbar(moments, label="Playing the last months") as shown:
        for moment in shown:
            _play(app, moment)
    _look_in_vain(app, now)
    _suggest(app, now)
    acted = _act(app, now)
    _write_macros()
    _promise(app, now)
    _follow_up(app, now)
    click.echo(
        f"Seeded: {added} shops and colleagues, {articles} articles, {len(moments)} steps of conversations "
        f"and {acted} actions are new."
    )


def _write_macros() -> None:
    """The team's macros, unless somebody has written some already."""
    session = db.session()
    mina = hooks.as_operator(_user(session, story.MINA))
    if not macros.usable(session, mina):
        for name, body, does in story.MACROS:
            macros.save(session, None, operator=mina, name=name, body=body, does=does, shared=True)
    session.commit()


def _promise(app: Flask, now: datetime) -> None:
    """What the desk promises, as it has for some hours, unless somebody has written a policy already."""
    session = db.session()
    if service_levels.newest(session) is None:
        with testing.frozen(now - story.PROMISED_SINCE):
            service_levels.save(session, story.PROMISES, in_force=True, seen=0, actor=_operator(session, story.MINA))
            session.commit()
        with testing.frozen(now):
            testing.run_jobs(app, within=timedelta(0))
    session.rollback()


def _follow_up(app: Flask, now: datetime) -> None:
    """The team's templates for follow-ups, and one envelope that was sent with one of them."""
    session = db.session()
    if session.get(SeedStep, "follow-ups") is not None:
        session.rollback()
        return
    when, sender, slugs = story.SENT
    at = ago(when, now)
    with testing.frozen(at):
        operator = hooks.as_operator(_user(session, sender))
        for name, subject, body, cancels in story.TEMPLATES:
            found = templates.save(
                session, None, operator=operator, name=name, subject=subject, body=body, cancel_on_reply=cancels
            )
        places = [number for slug in slugs if (number := story.conversation_id(session, slug)) is not None]
        chosen = queries.of_conversations(session, places)
        envelope = outbound.preview(session, chosen, found.id, actor=operator, source=Source.SELECTION)
        outbound.submit(session, envelope.id, actor=operator)
        session.add(SeedStep(key="follow-ups"))
        session.commit()
    with testing.frozen(at + A_MOMENT):
        testing.run_jobs(app)


def _look_in_vain(app: Flask, now: datetime) -> None:
    """What visitors of the help centre looked for, and no article answers."""
    session = db.session()
    if session.get(SeedStep, "searches") is not None:
        session.rollback()
        return
    for number, (when, words) in enumerate(sorted(story.SEARCHES, key=lambda one: ago(one[0], now)), 1):
        with testing.frozen(ago(when, now)):
            record_gap(
                session,
                words,
                source=GapSource.HELP_SEARCH,
                reason=GapReason.NOT_COVERED,
                actor=VISITOR,
                visitor=f"visitor {number}",
            )
            session.commit()
    session.add(SeedStep(key="searches"))
    session.commit()
    testing.run_jobs(app)


def _suggest(app: Flask, now: datetime) -> None:
    """An article for what is asked most, as the desk found it this morning: it waits for a review."""
    session = db.session()
    asked = gaps.listed(session, Shelf.ASKING, now).rows
    if session.get(SeedStep, "suggestion") is not None or not asked:
        session.rollback()
        return
    with testing.frozen(now - timedelta(hours=3)):
        suggestions.request(session, candidate_id=asked[0].candidate.id, actor=_operator(session, story.MINA))
        session.add(SeedStep(key="suggestion"))
        session.commit()
        testing.run_jobs(app)


# --- articles -------------------------------------------------------------------------------------------------------


def _publish_articles(app: Flask, now: datetime) -> int:
    """Import the articles as they were half a year ago, then as they are: what changed has an earlier revision.

    Returns:
        How many articles are new or changed.
    """
    changed = 0
    for folder, days, once in (("knowledge_before", 190, True), ("knowledge", 152, False)):
        if once and db.session.get(SeedStep, folder) is not None:
            continue
        # A first run places the articles in the past; a text that is changed later is published when that happens.
        first = db.session.get(SeedStep, folder) is None
        with testing.frozen(now - timedelta(days=days) if first else now):
            changed += _import(HERE / folder)
            if first:
                db.session.add(SeedStep(key=folder))
            db.session.commit()
            testing.run_jobs(app)
    return changed


def _import(folder: Path) -> int:
    author = _operator(db.session(), story.MINA)
    outcomes = [
        importer.import_file(db.session(), importer.parse(file), actor=author) for file in importer.find_files([folder])
    ]
    return sum(outcome is not importer.Outcome.UNCHANGED for outcome in outcomes)


# --- conversations --------------------------------------------------------------------------------------------------


def _timeline(now: datetime) -> Iterator[Moment]:
    """All steps of all conversations in the order in which they happened."""
    moments = [
        Moment(ago(step.when, now), talk, place, step) for talk in story.TALKS for place, step in enumerate(talk.steps)
    ]
    return iter(sorted(moments, key=lambda moment: moment.at))


def _play(app: Flask, moment: Moment) -> None:
    """One step and its mark in one transaction, then the work that it caused."""
    session = db.session()
    with testing.frozen(moment.at):
        _take(session, moment)
        session.add(SeedStep(key=moment.key))
        session.commit()
    if isinstance(moment.step, story.Ask) and moment.step.engine_away:
        _fail_to_draft(app, moment)
        return
    with testing.frozen(moment.at + A_MOMENT):
        # No further ahead: the demo asks every 20 seconds whether a reply was seen, and the clock is held.
        testing.run_jobs(app, within=A_MOMENT)


def _fail_to_draft(app: Flask, moment: Moment) -> None:
    """Let the worker of a host whose own draft engine is away try until it gives up."""
    from example_app import create_app  # which imports this module

    def unreachable(grounding: Grounding) -> Proposal:
        raise ConnectionError(f"The draft engine does not answer about conversation {grounding.conversation_id}.")

    keep = ("TESTING", "SECRET_KEY", "SQLALCHEMY_DATABASE_URI", "CAIRNLOOP_REDIS_URL", "CAIRNLOOP_REDIS_NAMESPACE")
    config = {key: app.config[key] for key in keep if key in app.config}
    host = create_app({**config, "CAIRNLOOP_DRAFT_GENERATOR": unreachable})
    logging.disable()  # each try logs its traceback, which would look like a fault of the seeds
    try:
        for minutes in range(0, 60, 5):
            with testing.frozen(moment.at + A_MOMENT + timedelta(minutes=minutes)):
                testing.run_jobs(host)
    finally:
        logging.disable(logging.NOTSET)
        with host.app_context():
            db.engine.dispose()


def _take(session: Session, moment: Moment) -> None:
    customer = hooks.as_customer(_user(session, moment.talk.customer))
    step = moment.step
    if isinstance(step, story.Ask):
        conversations.receive(
            session,
            customer=customer,
            body=step.body,
            channel="widget",
            conversation_id=story.conversation_id(session, moment.talk.slug),
            client_id=story.client_id(moment.talk.slug, moment.place),
            subject=moment.talk.subject,
        )
        return
    number = story.conversation_id(session, moment.talk.slug)
    if number is None:
        raise LookupError(f"{moment.key} comes before the first message.")
    if isinstance(step, story.Rate):
        conversations.rate(session, customer=customer, conversation_id=number, rating=step.rating, comment=step.comment)
    elif isinstance(step, story.Seen):
        newest = conversations.customer_messages(session, customer.ref, number)[-1]
        conversations.mark_seen(session, customer.ref, number, newest.sequence)
    else:
        _work(session, number, step)


def _work(session: Session, number: int, step: story.Step) -> None:
    """What an operator does."""
    match step:
        case story.Reply(by=by, body=body):
            conversations.reply(session, number, actor=_operator(session, by), body=body)
        case story.Note(by=by, body=body):
            note = conversations.add_note(session, number, actor=_operator(session, by), body=body)
            told = mentions.named(body, hooks.our_team).people
            mentions.tell(session, note, told, actor=_operator(session, by))
        case story.Assign(by=by, to=to):
            assignee = hooks.as_operator(_user(session, to))
            conversations.assign(session, number, actor=_operator(session, by), assignee=assignee)
        case story.Triage(by=by, tags=tags, priority=priority):
            for name in tags:
                tag = triage.tag_named(session, name)
                triage.tag(session, number, actor=_operator(session, by), tag_id=tag.id)
            if priority is not None:
                triage.set_priority(session, number, actor=_operator(session, by), priority=priority)
        case story.Snooze(by=by, days=days):
            until = clock.now() + timedelta(days=days)
            triage.snooze(session, number, actor=_operator(session, by), until=until)
        case story.Resolve(by=by):
            conversations.resolve(session, number, actor=_operator(session, by))
        case story.Reopen(by=by):
            conversations.reopen(session, number, actor=_operator(session, by))
        case story.Discard(by=by, reason=reason):
            draft = drafting.open_draft(session, number)
            if draft is not None:
                drafting.discard(session, draft.id, actor=_operator(session, by), reason=reason)
        case story.Approve():
            _approve(session, number, step)


def _approve(session: Session, number: int, step: story.Approve) -> None:
    actor = _operator(session, step.by)
    draft = drafting.open_draft(session, number)
    wanted = DraftKind.CLARIFICATION if step.asks_back else DraftKind.REPLY
    if (
        draft is None
        or draft.state is not DraftState.READY
        or draft.kind is not wanted
        or draft.policy is PolicyDecision.DRAFT_ONLY
    ):
        conversations.reply(session, number, actor=actor, body=f"{step.otherwise}\n\n{step.after}".strip())
        return
    *paragraphs, _ = drafting.without_marks(draft).split("\n\n")
    edited = "\n\n".join([*paragraphs, step.after]) if step.after else None
    drafting.approve(session, draft.id, actor=actor, seen=draft.answers_sequence, body=edited)


# --- actions --------------------------------------------------------------------------------------------------------


def _act(app: Flask, now: datetime) -> int:
    """Propose what the desk was asked to do, and decide on it. Returns how many actions are new."""
    acted = 0
    logging.disable()  # one of them is cut off from a network, as told: its traceback would look like a fault
    try:
        for act in decisions.ACTS:
            key = f"act/{act.slug}"
            session = db.session()
            if session.get(SeedStep, key) is None:
                _act_out(app, act, key, now)
                acted += 1
            session.rollback()
    finally:
        logging.disable(logging.NOTSET)
    return acted


def _act_out(app: Flask, act: decisions.Act, key: str, now: datetime) -> None:
    session = db.session()
    at = ago(act.when, now)
    with testing.frozen(at):
        action = decisions.proposed(session, act)
        session.add(SeedStep(key=key))
        session.commit()
    number = action.id
    with testing.frozen(at + A_MOMENT):
        testing.run_jobs(app)
    for decision in act.then:
        at = ago(decision.when, now)
        with testing.frozen(at):
            decisions.decide(session, service.get(session, number), decision, at)
            session.commit()
        with testing.frozen(at + A_MOMENT):
            testing.run_jobs(app)
    ends = at + timedelta(seconds=app.config.get("CAIRNLOOP_APPROVAL_TTL", 2 * 86_400)) + A_MOMENT
    with testing.frozen(min(now, ends)):  # what nobody decided on in time
        testing.run_jobs(app, within=timedelta(0))


def _user(session: Session, email: str) -> User:
    return session.scalars(select(User).where(User.email == email).options(joinedload(User.account))).one()


def _operator(session: Session, email: str) -> Actor:
    return Actor.operator(hooks.as_operator(_user(session, email)))


# --- time -----------------------------------------------------------------------------------------------------------


def ago(when: str, now: datetime) -> datetime:
    """``"34d 10:12"`` is that day at that time (UTC), ``"1h 25m"`` counts back from ``now``."""
    day = re.fullmatch(r"(\d+)d (\d\d):(\d\d)", when)
    if day:
        days, hour, minute = map(int, day.groups())
        return (now - timedelta(days=days)).replace(hour=hour, minute=minute, second=(days * 7) % 60, microsecond=0)
    short = re.fullmatch(r"(?:(\d+)h)? ?(?:(\d+)m)?", when)
    if not short or not any(short.groups()):
        raise ValueError(f"{when!r} is not a time ago.")
    hours, minutes = (int(part or 0) for part in short.groups())
    return now - timedelta(hours=hours, minutes=minutes)
