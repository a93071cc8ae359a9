"""Gathers questions into candidates as they come, one by one. It never commits, like every service.

Every question knows the few it is most alike; these links make a graph, and a candidate is a group in it (see
`communities`). A new question is linked to its nearest and settles among them, and so may those around it; from time to
time a candidate is arranged anew together with its neighbours, which is when it may take others in or fall apart.

What one more event costs does not grow with those behind it: a bounded number of neighbours, of links a question, of
questions a candidate and of questions that are arranged together. Whoever changes candidates does it alone, under a
lock that all of them take first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from flask_cairnloop.actors import Actor
from flask_cairnloop.clock import now
from flask_cairnloop.context import current
from flask_cairnloop.database.base import schema_name
from flask_cairnloop.upkeep import communities, likeness, marks, scoring
from flask_cairnloop.upkeep.likeness import Embedded, Near
from flask_cairnloop.upkeep.models import (
    CandidateState,
    GapAsker,
    GapCandidate,
    GapEvent,
    GapHistory,
    GapLink,
    GapQuestion,
    HistoryKind,
    Shelf,
)

SYSTEM: Final = Actor.system("gaps")
LINKS: Final = 12  # of a question, to those it is most alike
LEAST: Final = 0.33  # likeness that is worth a link
SAME: Final = 0.9  # likeness from which it is the same question in other words
# Of each pair of questions in a candidate. Few questions at all are far from each other by chance alone, so that a
# candidate has to be closer while there are few.
TOLL: Final = 0.05
TOLL_OF_FEW: Final = 40.0
FEW: Final = 50.0
MOST_QUESTIONS: Final = 120  # of a candidate; further ones are counted to the nearest of them
MOST_MOVES: Final = 60  # questions that are looked at again when one comes
ARRANGE_AFTER: Final = 8  # questions that came to a candidate
ARRANGED: Final = 400  # questions that are arranged together
MOST_ASKERS: Final = 200  # different people that are remembered of a question
NEW: Final = 0  # the question that has no row yet
AGAIN: Final = 2  # a dismissed candidate asks again when it was asked so many times as often
PLAIN: Final = {"synchronize_session": False}

Groups = dict[int, int]


def lock(session: Session) -> None:
    """Change candidates alone, until the end of the transaction. Taken before any row of this room is locked."""
    name = f"flask_cairnloop.gaps.{schema_name(session)}"
    session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name})


def join(session: Session, event_id: int, embedded: Embedded | None) -> int | None:
    """Count an event to a candidate: the one its question belongs to, or a new one. A second time changes nothing.

    Args:
        embedded: the vector of its question, made beforehand; without one, questions are compared by their words.

    Returns:
        The candidate's id; ``None`` where the event is gone, or was counted already.
    """
    lock(session)
    event = session.scalars(
        select(GapEvent).where(GapEvent.id == event_id).with_for_update().execution_options(populate_existing=True)
    ).one_or_none()
    if event is None or event.question_id is not None:
        return None
    event.fingerprint = marks.fingerprint(event.question)
    found = session.scalars(select(GapQuestion).where(GapQuestion.fingerprint == event.fingerprint)).one_or_none()
    came = found is None
    if found is None:
        found = _place(session, event, embedded)
        came = found.events == 0
    candidate = _count(session, event, found)
    if came:
        candidate.changed += 1
        if candidate.label_id is None or _is_power_of_two(candidate.questions):
            session.flush()
            candidate.label_id = _label(session, candidate.id)
        session.flush()
        alone = candidate.questions == 1 and found.id % (ARRANGE_AFTER // 2) == 0
        if alone or candidate.changed >= ARRANGE_AFTER:
            arrange(session, candidate)
    session.flush()
    return found.candidate_id


# --- a question comes -------------------------------------------------------------------------------------------------


def _place(session: Session, event: GapEvent, embedded: Embedded | None) -> GapQuestion:
    """The question of an event: one that says the same, or a new one with its links, in the candidate it fits best."""
    terms = marks.terms(event.question)
    likeness.count_terms(session, terms)
    if embedded is not None:
        likeness.note_vector(session, embedded)
    near = [one for one in likeness.nearest(session, terms, embedded) if one.likeness > LEAST]
    links = _links(session, [one.id for one in near])
    given, taken, lost = _linked(near, links)
    full = _said_already(session, near, given, taken)
    if full is not None:
        likeness.count_terms(session, terms, -1)
        return full
    for question_id, other_id in lost:
        links[question_id].pop(other_id)
    links[NEW] = given
    for question_id, alike in taken.items():
        links.setdefault(question_id, {})[NEW] = alike
    graph = _graph(links)
    before = _candidates_of(session, [node for node in graph if node != NEW])
    groups: Groups = {**before, NEW: -NEW - 1}
    held = _sizes(session, set(before.values()))
    sizes = {**{candidate_id: size for candidate_id, (size, _) in held.items()}, groups[NEW]: 1}
    loose = {candidate_id for candidate_id, (_, is_loose) in held.items() if is_loose}
    movable = {NEW, *(one.id for one in near if one.candidate_id in loose)}
    communities.settle(
        {node: edges for node, edges in graph.items() if node in movable},
        groups,
        sizes,
        toll(session),
        queue=[NEW, *(one.id for one in near if one.id in taken and one.id in movable)],
        most=MOST_MOVES,
        closed={candidate_id for candidate_id in held if candidate_id not in loose},
        guest=NEW,
    )
    return _written(session, event, terms, embedded, before, groups, given, taken, lost)


def _written(
    session: Session,
    event: GapEvent,
    terms: list[int],
    embedded: Embedded | None,
    before: Groups,
    groups: Groups,
    given: Mapping[int, float],
    taken: Mapping[int, float],
    lost: Iterable[tuple[int, int]],
) -> GapQuestion:
    """Keep a question with its links, and what moved because of it."""
    numbers: dict[int, int] = {}
    if groups[NEW] < 0:
        candidate = _opened(session, event.occurred_at)
        numbers[groups[NEW]] = candidate.id
    question = GapQuestion(
        candidate_id=numbers.get(groups[NEW], groups[NEW]),
        question=event.question,
        fingerprint=event.fingerprint,
        terms=terms,
        first_at=event.occurred_at,
        last_at=event.last_at,
        events=0,
        kinds={},
    )
    session.add(question)
    session.get_one(GapCandidate, question.candidate_id).questions += 1
    session.flush()
    if embedded is not None:
        likeness.keep_vector(session, question.id, embedded)
    _keep_links(session, question.id, given, taken, lost)
    after = {node: groups[node] for node in before}
    _move(session, before, after, numbers)
    session.refresh(question, ["candidate_id"])
    return question


def link_again(session: Session, question_id: int, embedded: Embedded) -> None:
    """Link a question by its vector, which it had none of, or one of another model. It stays where it is for now.

    Nothing is done where its words have gone meanwhile.
    """
    lock(session)
    question = session.scalars(
        select(GapQuestion).where(GapQuestion.id == question_id).execution_options(populate_existing=True)
    ).one_or_none()
    if question is None or question.question is None:
        return
    likeness.note_vector(session, embedded)
    likeness.keep_vector(session, question_id, embedded)
    mine = (GapLink.question_id == question_id) | (GapLink.other_id == question_id)
    session.execute(delete(GapLink).where(mine).execution_options(**PLAIN))
    found = likeness.nearest(session, question.terms, embedded, besides=question_id)
    near = [one for one in found if one.likeness > LEAST]
    _keep_links(session, question_id, *_linked(near, _links(session, [one.id for one in near])))
    candidate = session.get_one(GapCandidate, question.candidate_id)
    candidate.changed += 1
    session.flush()
    if candidate.changed >= ARRANGE_AFTER or candidate.questions == 1:
        arrange(session, candidate)


def _keep_links(
    session: Session,
    question_id: int,
    given: Mapping[int, float],
    taken: Mapping[int, float],
    lost: Iterable[tuple[int, int]],
) -> None:
    for one, other in lost:
        session.execute(
            delete(GapLink).where(GapLink.question_id == one, GapLink.other_id == other).execution_options(**PLAIN)
        )
    rows = [{"question_id": question_id, "other_id": other, "likeness": alike} for other, alike in given.items()]
    rows += [{"question_id": other, "other_id": question_id, "likeness": alike} for other, alike in taken.items()]
    if rows:
        session.execute(insert(GapLink), rows)


def _linked(
    near: Sequence[Near], links: Mapping[int, Mapping[int, float]]
) -> tuple[dict[int, float], dict[int, float], list[tuple[int, int]]]:
    """The links that a new question gives, those that others give it, and those that others lose for it."""
    given = {one.id: one.likeness for one in near[:LINKS]}
    taken, lost = {}, []
    for one in near:
        theirs = links.get(one.id, {})
        if len(theirs) >= LINKS:
            weakest = min(theirs, key=lambda other: (theirs[other], -other))
            if theirs[weakest] >= one.likeness:
                continue
            lost.append((one.id, weakest))
        taken[one.id] = one.likeness
    return given, taken, lost


def _said_already(
    session: Session, near: Sequence[Near], given: Mapping[int, float], taken: Mapping[int, float]
) -> GapQuestion | None:
    """The question that this one is counted to, instead of standing for itself."""
    if not near:
        return None
    chosen = near[0].id if near[0].likeness >= SAME else None
    if chosen is None:
        ties: Counter[int] = Counter()
        for one in near:
            ties[one.candidate_id] += given.get(one.id, 0.0) + taken.get(one.id, 0.0)  # type: ignore[assignment]
        best = max(ties, key=lambda candidate_id: (ties[candidate_id], -candidate_id))
        full = select(GapCandidate.id).where(GapCandidate.id == best, GapCandidate.questions >= MOST_QUESTIONS)
        if session.scalar(full) is not None:
            chosen = next(one.id for one in near if one.candidate_id == best)
    return None if chosen is None else session.get_one(GapQuestion, chosen)


def toll(session: Session) -> float:
    """What each pair of questions in a candidate costs, by how many questions there are."""
    return TOLL + TOLL_OF_FEW / (likeness.holding(session, [likeness.ALL])[likeness.ALL] + FEW)


# --- an event is counted ----------------------------------------------------------------------------------------------


def _count(session: Session, event: GapEvent, question: GapQuestion) -> GapCandidate:
    candidate = session.get_one(GapCandidate, question.candidate_id)
    event.question_id = question.id
    if event.asker is not None and _is_new(session, question, event.asker):
        candidate.askers += 1
    for row in (question, candidate):
        row.events += 1
        row.kinds = {**row.kinds, event.reason.value: row.kinds.get(event.reason.value, 0) + 1}
        row.first_at, row.last_at = min(row.first_at, event.occurred_at), max(row.last_at, event.last_at)
    shelve(session, candidate)
    return candidate


def _is_new(session: Session, question: GapQuestion, asker: str) -> bool:
    """Remember who asked a question. Whether they asked nothing of its candidate before."""
    known = (
        select(GapAsker.question_id)
        .join(GapQuestion, GapQuestion.id == GapAsker.question_id)
        .where(GapAsker.asker == asker, GapQuestion.candidate_id == question.candidate_id)
    )
    asked = set(session.scalars(known))
    if question.id in asked:
        return False
    remembered = select(func.count()).select_from(GapAsker).where(GapAsker.question_id == question.id)
    if (session.scalar(remembered) or 0) >= MOST_ASKERS:
        return False
    session.execute(insert(GapAsker).values(question_id=question.id, asker=asker).on_conflict_do_nothing())
    return not asked


def shelve(session: Session, candidate: GapCandidate) -> None:
    """Put a candidate where it belongs by what is behind it.

    One that was dismissed or answered, and is asked often enough since, asks again.
    """
    settings = current().settings
    candidate.rank = scoring.rank(candidate.events, candidate.askers, candidate.kinds, candidate.last_at)
    if candidate.state is CandidateState.OPEN:
        enough = candidate.events >= settings.gap_min_events and candidate.askers >= settings.gap_min_customers
        candidate.shelf = Shelf.ASKING if enough else Shelf.FEW
        return
    again = max(candidate.events_then * AGAIN, candidate.events_then + settings.gap_min_events)
    over = candidate.state in (CandidateState.DISMISSED, CandidateState.ANSWERED)
    if over and candidate.asks_again_at is None and candidate.events >= again:
        candidate.asks_again_at = now()
        note(session, candidate, HistoryKind.ASKED_AGAIN, SYSTEM)
    candidate.shelf = Shelf.ASKING if candidate.asks_again_at else Shelf(candidate.state.value)


def note(
    session: Session,
    candidate: GapCandidate,
    kind: HistoryKind,
    actor: Actor,
    *,
    other_id: int | None = None,
    questions: int | None = None,
) -> None:
    """Add to the history of a candidate."""
    session.add(
        GapHistory(
            candidate_id=candidate.id,
            kind=kind,
            actor_id=actor.id,
            actor_name=actor.name,
            other_id=other_id,
            questions=questions,
            events=candidate.events,
            occurred_at=now(),
        )
    )


# --- questions move ---------------------------------------------------------------------------------------------------


def arrange(session: Session, candidate: GapCandidate) -> None:
    """Group the questions of a candidate and its nearest neighbours anew, where that makes a better grouping.

    Nothing is taken out of a candidate that somebody has decided something about, nor out of one that is too large.
    """
    candidate.changed = 0
    if candidate.by_hand or not 0 < candidate.questions <= ARRANGED:
        return
    before = _questions_of(session, [candidate.id])
    around = _graph(_links(session, before))
    ties = _candidates_of(session, [node for node in around if node not in before])
    pulls: dict[int, float] = {}
    for node in before:
        for other, weight in around.get(node, {}).items():
            if other in ties:
                pulls[ties[other]] = pulls.get(ties[other], 0.0) + weight
    held = _sizes(session, set(pulls))
    together = [candidate.id]
    room = ARRANGED - len(before)
    for other_id in sorted(pulls, key=lambda one: (-pulls[one] / max(held[one][0], 1) ** 0.5, one)):
        size, is_loose = held[other_id]
        if is_loose and size > room:
            break
        if is_loose:
            together.append(other_id)
            room -= size
    before = _questions_of(session, together)
    graph = _graph(_links(session, before))
    inside = {node: {o: w for o, w in graph.get(node, {}).items() if o in before} for node in before}
    cost = toll(session)
    fresh = communities.arrange(inside, before, cost)
    if communities.worth(inside, fresh, cost) > communities.worth(inside, before, cost) + communities.LEAST:
        _move(session, before, communities.named(fresh, before), {})


def _move(session: Session, before: Mapping[int, int], after: Mapping[int, int], numbers: dict[int, int]) -> None:
    """Let questions go from candidate to candidate, with a history of it.

    Args:
        before, after: the candidate of each. A negative number afterwards is a candidate that is not there yet.
        numbers: of those that were made meanwhile; what is made here is added.
    """
    moved: dict[tuple[int, int], list[int]] = {}
    for node, was in before.items():
        if after[node] != was:
            moved.setdefault((was, after[node]), []).append(node)
    if not moved:
        return
    opened: set[int] = set()
    for _, to in sorted(moved, key=lambda way: (-len(moved[way]), way)):
        if to < 0 and to not in numbers:
            numbers[to] = _opened(session, now(), quietly=True).id
            opened.add(numbers[to])
    steps = {(was, numbers.get(to, to)): nodes for (was, to), nodes in moved.items()}
    targets: dict[int, list[int]] = {}
    for (_, to), nodes in steps.items():
        targets.setdefault(to, []).extend(nodes)
    for to, nodes in targets.items():
        session.execute(
            update(GapQuestion).where(GapQuestion.id.in_(nodes)).values(candidate_id=to).execution_options(**PLAIN)
        )
    tell(session, steps, opened, SYSTEM)


def tell(
    session: Session,
    steps: Mapping[tuple[int, int], Collection[int]],
    opened: Collection[int],
    actor: Actor,
) -> None:
    """Count candidates anew whose questions moved, and write it into their histories. One that has none left is merged.

    Args:
        steps: the questions that moved, by whence and whither.
        opened: candidates that are new.
    """
    touched = {candidate_id for way in steps for candidate_id in way}
    candidates = recount(session, touched)
    for (was, to), nodes in sorted(steps.items(), key=lambda step: (-len(step[1]), step[0])):
        source, target = candidates[was], candidates[to]
        note(session, source, HistoryKind.GAVE, actor, other_id=to, questions=len(nodes))
        kind = HistoryKind.TOOK
        if to in opened:
            kind, opened = HistoryKind.OPENED, set(opened) - {to}
        note(session, target, kind, actor, other_id=was, questions=len(nodes))
        if source.questions == 0 and source.state is not CandidateState.MERGED:
            source.state, source.merged_into_id = CandidateState.MERGED, to
            source.snoozed_until = source.asks_again_at = None
            source.version += 1
            shelve(session, source)
            note(session, source, HistoryKind.MERGED, actor, other_id=to, questions=0)
    session.flush()


def recount(session: Session, candidate_ids: Collection[int]) -> dict[int, GapCandidate]:
    """Make what candidates say of their questions true again. Returns them by id."""
    session.flush()
    rows = session.scalars(
        select(GapCandidate)
        .where(GapCandidate.id.in_(candidate_ids))
        .order_by(GapCandidate.id)
        .execution_options(populate_existing=True)
    ).all()
    held: dict[int, list[Any]] = {}
    columns = (
        GapQuestion.candidate_id,
        GapQuestion.events,
        GapQuestion.kinds,
        GapQuestion.first_at,
        GapQuestion.last_at,
    )
    for row in session.execute(select(*columns).where(GapQuestion.candidate_id.in_(candidate_ids))):
        held.setdefault(row.candidate_id, []).append(row)
    counted_askers = session.execute(
        select(GapQuestion.candidate_id, func.count(GapAsker.asker.distinct()))
        .join(GapAsker, GapAsker.question_id == GapQuestion.id)
        .where(GapQuestion.candidate_id.in_(candidate_ids))
        .group_by(GapQuestion.candidate_id)
    )
    askers = {row[0]: row[1] for row in counted_askers}
    for candidate in rows:
        questions = held.get(candidate.id, [])
        candidate.questions = len(questions)
        if not questions:  # what it came to stays for its history
            candidate.label_id = None
            continue
        candidate.events = sum(question.events for question in questions)
        candidate.askers = askers.get(candidate.id, 0)
        counted: Counter[str] = Counter()
        for question in questions:
            counted.update(question.kinds)
        candidate.kinds = dict(counted)
        candidate.first_at = min(question.first_at for question in questions)
        candidate.last_at = max(question.last_at for question in questions)
        candidate.label_id = _label(session, candidate.id)
        shelve(session, candidate)
    session.flush()
    return {candidate.id: candidate for candidate in rows}


def _label(session: Session, candidate_id: int) -> int | None:
    """The question in the middle of a candidate: the one that is most alike the others, of those with words."""
    within = select(GapQuestion.id).where(GapQuestion.candidate_id == candidate_id)
    alike = (
        select(GapLink.other_id, func.sum(GapLink.likeness).label("alike"))
        .where(GapLink.question_id.in_(within), GapLink.other_id.in_(within))
        .group_by(GapLink.other_id)
        .subquery()
    )
    return session.scalar(
        select(GapQuestion.id)
        .outerjoin(alike, alike.c.other_id == GapQuestion.id)
        .where(GapQuestion.candidate_id == candidate_id, GapQuestion.question.is_not(None))
        .order_by(alike.c.alike.desc().nulls_last(), GapQuestion.events.desc(), GapQuestion.id)
        .limit(1)
    )


def _opened(session: Session, at: datetime, *, quietly: bool = False) -> GapCandidate:
    candidate = GapCandidate(
        state=CandidateState.OPEN,
        shelf=Shelf.FEW,
        first_at=at,
        last_at=at,
        questions=0,
        events=0,
        askers=0,
        kinds={},
        rank=0.0,
        changed=0,
        created_at=now(),
    )
    session.add(candidate)
    session.flush()
    if not quietly:
        note(session, candidate, HistoryKind.OPENED, SYSTEM)
    return candidate


# --- the graph --------------------------------------------------------------------------------------------------------


def _links(session: Session, nodes: Iterable[int]) -> dict[int, dict[int, float]]:
    """All links from and to these questions, by who gives them. Two queries."""
    wanted = list(nodes)
    found: dict[int, dict[int, float]] = {}
    if wanted:
        for side in (GapLink.question_id, GapLink.other_id):
            rows = session.execute(
                select(GapLink.question_id, GapLink.other_id, GapLink.likeness).where(side.in_(wanted))
            )
            for question_id, other_id, alike in rows:
                found.setdefault(question_id, {})[other_id] = alike
    return found


def _graph(links: Mapping[int, Mapping[int, float]]) -> dict[int, dict[int, float]]:
    """Links as edges: two that stand for each other are one of both weights."""
    graph: dict[int, dict[int, float]] = {}
    for node, others in links.items():
        for other, alike in others.items():
            for one, two in ((node, other), (other, node)):
                edges = graph.setdefault(one, {})
                edges[two] = edges.get(two, 0.0) + alike
    graph.setdefault(NEW, {})
    return graph


def _candidates_of(session: Session, nodes: Iterable[int]) -> Groups:
    wanted = list(nodes)
    if not wanted:
        return {}
    found = select(GapQuestion.id, GapQuestion.candidate_id).where(GapQuestion.id.in_(wanted))
    return {row.id: row.candidate_id for row in session.execute(found)}


def _questions_of(session: Session, candidate_ids: Collection[int]) -> Groups:
    found = select(GapQuestion.id, GapQuestion.candidate_id).where(
        GapQuestion.candidate_id.in_(candidate_ids), GapQuestion.question.is_not(None)
    )
    return {row.id: row.candidate_id for row in session.execute(found.order_by(GapQuestion.id))}


def _sizes(session: Session, candidate_ids: Collection[int]) -> dict[int, tuple[int, bool]]:
    """How many questions candidates have, and whether theirs may move."""
    if not candidate_ids:
        return {}
    found = select(GapCandidate.id, GapCandidate.questions, GapCandidate.by_hand).where(
        GapCandidate.id.in_(candidate_ids)
    )
    return {row.id: (row.questions, not row.by_hand) for row in session.execute(found)}


def _is_power_of_two(number: int) -> bool:
    return number & (number - 1) == 0
