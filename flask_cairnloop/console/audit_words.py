"""Entries of the audit log in words. Total: an action, a kind of thing or a value nobody knows is still readable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from flask import url_for
from werkzeug.routing import BuildError

from flask_cairnloop.actors import ActorKind
from flask_cairnloop.audit.models import AuditEntry
from flask_cairnloop.console.presenters import Person, humanized, person

# What was done, as it goes on after whoever did it.
ACTIONS: Final[Mapping[str, str]] = {
    "action.approval_given": "approved an action, as one of two",
    "action.approval_set_aside": "set an approval aside",
    "action.approved": "approved an action",
    "action.attempt_failed": "could not run an action, and will try again",
    "action.auto_approved": "let an action run without an approval",
    "action.became_uncertain": "does not know how an action ended",
    "action.came_back": "asked about a deferred action again",
    "action.deferred": "deferred an action",
    "action.edited": "changed the values of an action",
    "action.expired": "let an action expire: nobody decided in time",
    "action.failed": "could not run an action",
    "action.invalidated": "stopped an approved action: it may not run any more",
    "action.proposed": "proposed an action",
    "action.refused": "was refused an action",
    "action.rejected": "rejected an action",
    "action.settled": "said how an action ended",
    "action.started": "began to run an action",
    "action.succeeded": "ran an action",
    "action.withdrawn": "took an action back",
    "article.archive": "archived the article",
    "article.discard": "discarded the draft of the article",
    "article.index": "had the article indexed again",
    "article.not_published": "could not publish the article at its time",
    "article.publish": "published the article",
    "article.restore": "brought back an earlier version of the article",
    "article.save": "changed the article",
    "article.schedule": "set a time to publish the article",
    "article.unarchive": "brought the article back",
    "article.unschedule": "took back the time to publish the article",
    "article.verify": "checked that the article is still right",
    "audit.cut": "removed entries that were older than their retention",
    "audit.export": "exported the audit log",
    "bulk.do": "did one thing to several conversations",
    "bulk.undo": "took back what was done to several conversations",
    "conversation.assign": "assigned the conversation",
    "conversation.close": "closed the conversation",
    "conversation.low_rating": "told of a low rating",
    "conversation.mark_spam": "marked the conversation as spam",
    "conversation.open": "opened the conversation",
    "conversation.priority": "said how urgent the conversation is",
    "conversation.rate": "rated the conversation",
    "conversation.reopen": "reopened the conversation",
    "conversation.resolve": "resolved the conversation",
    "conversation.snooze": "put the conversation off",
    "conversation.tag": "put a tag on the conversation",
    "conversation.team": "gave the conversation to a team",
    "conversation.unmark_spam": "took the conversation back from spam",
    "conversation.untag": "took a tag off the conversation",
    "conversation.wake": "brought the conversation back",
    "customer.export": "took out everything that is held about the customer",
    "customer.forget": "had everything about the customer forgotten",
    "draft.approved": "approved a draft",
    "draft.discarded": "discarded a draft",
    "draft.edited": "edited a draft and sent it",
    "draft.failed": "could not write a draft",
    "draft.generating": "began a draft",
    "draft.ready": "wrote a draft",
    "draft.superseded": "set a draft aside",
    "draft.withheld": "withheld a draft",
    "file.add": "added a file",
    "file.delete": "deleted a file that nothing used",
    "gap.accept": "accepted a gap: an article is to be written",
    "gap.assign": "said who sees to a gap",
    "gap.dismiss": "dismissed a gap",
    "gap.merge": "merged a gap into another",
    "gap.reopen": "opened a gap again",
    "gap.snooze": "put a gap off",
    "gap.wake": "brought a gap back",
    "grounding.fit": "fitted the grounding decision to the desk’s own questions",
    "index.rebuild": "had articles indexed again",
    "job.discard": "discarded a failed job",
    "job.retry": "had a failed job tried again",
    "list.delete": "deleted a saved list of the inbox",
    "list.save": "saved a list of the inbox",
    "macro.delete": "deleted a macro",
    "macro.save": "wrote a macro",
    "macro.use": "used a macro",
    "memory.reject": "said that the article did not answer a question",
    "memory.restore": "said that the article did answer a question",
    "message.hold": "wrote a reply, to be sent in a moment",
    "message.mention": "mentioned colleagues in a note",
    "message.note": "wrote a note",
    "message.receive": "wrote a message",
    "message.reply": "replied",
    "service_level.breach": "noted that a deadline has passed",
    "service_policy.save": "wrote the service policy",
    "envelope.discard": "discarded the preview of a follow-up",
    "envelope.preview": "made the preview of a follow-up",
    "envelope.refuse": "was refused a follow-up to too many at once",
    "envelope.send": "sent a follow-up",
    "envelope.split": "split a follow-up that was refused",
    "outbound.cancel": "cancelled a follow-up",
    "outbound.deliver": "delivered a follow-up",
    "outbound.fail": "could not deliver a follow-up",
    "outbound.hand_over": "handed a follow-up to your app",
    "outbound.retry": "will try to deliver a follow-up again",
    "outbound.send_again": "had a follow-up sent again",
    "outbound.skip": "left somebody out of a follow-up",
    "outbound.uncertain": "does not know whether a follow-up was delivered",
    "suggestion.approve": "approved a suggested article",
    "suggestion.ask_again": "asked the questions of a suggested article again",
    "suggestion.assign": "said who reviews a suggested article",
    "suggestion.conflict": "found another draft in the way of a suggested article",
    "suggestion.defer": "deferred the review of a suggested article",
    "suggestion.edit": "edited a suggested article",
    "suggestion.fail": "could not write a suggested article",
    "suggestion.publish": "published a suggested article",
    "suggestion.rebase": "brought a suggested article up to date",
    "suggestion.regenerate": "had a suggested article written again",
    "suggestion.reject": "rejected a suggested article",
    "suggestion.reopen": "opened a suggested article again",
    "suggestion.request": "had an article suggested",
    "suggestion.return": "asked for changes of a suggested article",
    "suggestion.stale": "found that an article was published anew since a change of it was suggested",
    "suggestion.wake": "brought a suggested article back for its review",
    "suggestion.write": "wrote a suggested article",
    "suppression.add": "let somebody get no more follow-ups",
    "suppression.remove": "let somebody get follow-ups again",
    "template.archive": "archived a template",
    "template.save": "wrote a template",
    "token.create": "made a token",
    "token.revoke": "revoked a token",
    "message.stop": "did not send a reply: something came between",
    "message.undo": "took a reply back before it was sent",
}
SUBJECTS: Final[Mapping[str, str]] = {"audit": "Audit log", "index": "Search index"}
# Where a thing is shown, and how its page calls its number. Of the rest, there is no page.
PAGES: Final[Mapping[str, tuple[str, str]]] = {
    "conversation": ("cairnloop.conversation", "conversation_id"),
    "article": ("cairnloop.article", "article_id"),
    "envelope": ("cairnloop.envelope", "envelope_id"),
    "template": ("cairnloop.outbound_template", "template_id"),
    "gap": ("cairnloop.gap", "gap_id"),
    "suggestion": ("cairnloop.review", "suggestion_id"),
}
DETAILS: Final[Mapping[str, str]] = {"sequence": "Message", "because": "Because of", "assignee_id": "Assigned to"}


@dataclass(frozen=True, slots=True)
class EntryView:
    """One entry.

    Args:
        thread: what it is about: a kind of thing and its number.
        href: where that is shown, if anywhere.
        done: what was done, as it goes on after ``who``.
        words: why, as whoever decided wrote it; ``None`` without.
        erased: why, but erased since.
    """

    id: int
    moment: datetime
    who: Person
    machine: bool
    done: str
    thread: tuple[str, int]
    about: str
    href: str | None
    details: list[tuple[str, str]]
    words: str | None
    erased: bool


def entry_view(entry: AuditEntry, words: str | None) -> EntryView:
    """An entry as a page shows it."""
    thread = _thread(entry)
    return EntryView(
        entry.id,
        entry.occurred_at,
        _who(entry),
        entry.actor_kind in (ActorKind.SYSTEM, ActorKind.POLICY, ActorKind.TOKEN),
        action_phrase(entry.action),
        thread,
        subject_title(*thread),
        _page_of(*thread),
        list(_details(entry, thread)),
        words,
        entry.text_digest is not None and words is None,
    )


def action_phrase(action: str) -> str:
    """What was done, after whoever did it."""
    return ACTIONS.get(action) or f"did “{humanized(action.replace('.', ' '))}”"


def action_title(action: str) -> str:
    """The same standing alone."""
    phrase = ACTIONS.get(action) or humanized(action.replace(".", " "))
    return phrase[:1].upper() + phrase[1:]


def known_actions(actions: Iterable[str]) -> list[tuple[str, str]]:
    """Actions to choose from, by their words."""
    return sorted(((action, action_title(action)) for action in actions), key=lambda pair: pair[1])


def subject_title(kind: str, number: int) -> str:
    """What an entry is about: ``Conversation 12``."""
    name = SUBJECTS.get(kind) or humanized(kind)
    return f"{name} {number}" if number else name


def _thread(entry: AuditEntry) -> tuple[str, int]:
    """A draft belongs to its conversation, and so does anything else that says in which one it was."""
    inside = entry.data.get("conversation_id")
    if isinstance(inside, int) and not isinstance(inside, bool):
        return "conversation", inside
    return entry.subject_type, entry.subject_id


def _who(entry: AuditEntry) -> Person:
    match entry.actor_kind:
        case ActorKind.CUSTOMER:
            return person("The customer")
        case ActorKind.SYSTEM:
            part = entry.actor_id.removeprefix("system:")
            return person(f"Cairnloop ({humanized(part).lower()})", team=True)
        case ActorKind.TOKEN:
            return person(f"{entry.actor_name or entry.actor_id} (token)", team=True)
        case _:
            return person(entry.actor_name or entry.actor_id, team=True)


def _page_of(kind: str, number: int) -> str | None:
    endpoint, name = PAGES.get(kind, ("", ""))
    values: dict[str, Any] = {name: number}
    try:
        return url_for(endpoint, **values) if endpoint else None
    except BuildError:  # a number that no page takes
        return None


def _details(entry: AuditEntry, thread: tuple[str, int]) -> Iterable[tuple[str, str]]:
    if thread != (entry.subject_type, entry.subject_id):
        yield humanized(entry.subject_type), str(entry.subject_id)
    for name, value in sorted(entry.data.items()):
        if name != "conversation_id":
            yield DETAILS.get(name) or humanized(name.removesuffix("_id")), _value(value)


def _value(value: Any) -> str:
    match value:
        case None | "":
            return "Nobody" if value is None else "Empty"
        case bool():
            return "Yes" if value else "No"
        case list():
            return ", ".join(_value(one) for one in value) or "None"
        case dict():
            return "; ".join(f"{humanized(key)} {_value(one)}" for key, one in sorted(value.items())) or "None"
        case _:
            return str(value)
