"""Tools that every desk has."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from flask_cairnloop.actors import Actor
from flask_cairnloop.context import current
from flask_cairnloop.conversations import service as conversations
from flask_cairnloop.conversations import triage
from flask_cairnloop.conversations.models import TAG_LENGTH, Priority
from flask_cairnloop.errors import CustomerForgotten, IllegalTransition, InvalidInput, NotFound, Taken
from flask_cairnloop.governance.tools import (
    Change,
    Consequence,
    Outcome,
    PermanentFailure,
    RetryableFailure,
    Tool,
    ToolContext,
)
from flask_cairnloop.governance.types import Risk, ToolKind
from flask_cairnloop.hooks import Operator, Permission, Subject
from flask_cairnloop.knowledge.models import Audience
from flask_cairnloop.retrieval.search import search

PASSAGES = 5
EXCERPT = 600  # characters of a passage


class _Ours(Tool):
    """A tool of ours is for who has the permission that its button on the console asks for."""

    needs: Permission

    def authorize(self, inputs: Any, context: ToolContext) -> bool | str:  # noqa: ARG002
        if context.token is not None:
            return self.needs in context.token.scopes or f"The token lacks {self.needs.value}."
        if context.operator is None:  # the host's own code, which may call the room itself
            return True
        subject = Subject("conversation", context.conversation.id) if context.conversation else None
        if current().hooks.may(context.operator, self.needs, subject):
            return True
        return f"{context.operator.name} lacks the permission {self.needs.value}."

    def _actor(self, context: ToolContext) -> Actor:
        if context.token is not None:
            return Actor.token(context.token)
        return Actor.operator(context.operator) if context.operator else Actor.system(self.name)


def needed(tool: Tool) -> Permission | None:
    """The permission that a tool of ours asks for beside its scopes; of others, ``None``."""
    return tool.needs if isinstance(tool, _Ours) else None


class AddNote(_Ours):
    """Write an internal note."""

    name = "add_note"
    title = "Add an internal note"
    description = "Writes a note into the conversation that only the team sees."
    risk = Risk.LOW_WRITE
    kind = ToolKind.TRANSACTIONAL
    filled = {"conversation_id": "conversation.id"}  # noqa: RUF012 - never changed
    needs = Permission.CONVERSATIONS_NOTE

    class Input(BaseModel):
        conversation_id: int
        body: str = Field(title="Note", min_length=1, max_length=5000)

    def preview(self, inputs: Input, context: ToolContext) -> str:  # noqa: ARG002
        return "Adds an internal note to this conversation. The customer never sees it."

    def run(self, inputs: Input, context: ToolContext) -> Outcome:
        session = _session(context)
        try:
            note = conversations.add_note(session, inputs.conversation_id, actor=self._actor(context), body=inputs.body)
        except (InvalidInput, NotFound) as error:
            raise PermanentFailure(str(error)) from error
        return Outcome("The note was added.", {"message_id": note.id})


class ResolveConversation(_Ours):
    """Mark a conversation as done."""

    name = "resolve_conversation"
    title = "Resolve the conversation"
    description = "Marks the conversation as done. The customer can answer and so reopen it."
    risk = Risk.LOW_WRITE
    kind = ToolKind.TRANSACTIONAL
    filled = {"conversation_id": "conversation.id"}  # noqa: RUF012 - never changed
    needs = Permission.CONVERSATIONS_RESOLVE

    class Input(BaseModel):
        conversation_id: int

    def preview(self, inputs: Input, context: ToolContext) -> Consequence:  # noqa: ARG002
        status = context.conversation.status if context.conversation else ""
        if status == "resolved":
            raise PermanentFailure("This conversation is resolved already.")
        return Consequence(
            "Marks this conversation as resolved. An open draft is withdrawn"
            + (", and the customer is asked for a rating." if current().settings.ask_for_rating else "."),
            (Change("Status", "Open", "Resolved"),),
        )

    def run(self, inputs: Input, context: ToolContext) -> str:
        if conversations.reply_waits(_session(context), inputs.conversation_id):
            raise RetryableFailure("A reply is on its way there.")
        try:
            conversations.resolve(
                _session(context), inputs.conversation_id, actor=self._actor(context), how=conversations.How.ACTION
            )
        except IllegalTransition as error:
            raise PermanentFailure("This conversation is resolved already.") from error
        except (CustomerForgotten, NotFound) as error:
            raise PermanentFailure(str(error)) from error
        return "The conversation was resolved."


class TagConversation(_Ours):
    """Put a tag on a conversation."""

    name = "tag_conversation"
    title = "Tag the conversation"
    description = "Puts a tag on the conversation, by which the team finds it. Customers do not see it."
    risk = Risk.LOW_WRITE
    kind = ToolKind.TRANSACTIONAL
    filled = {"conversation_id": "conversation.id"}  # noqa: RUF012 - never changed
    needs = Permission.CONVERSATIONS_REPLY

    class Input(BaseModel):
        conversation_id: int
        tag: str = Field(title="Tag", min_length=1, max_length=TAG_LENGTH)

    def preview(self, inputs: Input, context: ToolContext) -> str:  # noqa: ARG002
        return f"Puts the tag “{inputs.tag.strip()}” on this conversation. The customer never sees it."

    def run(self, inputs: Input, context: ToolContext) -> str:
        session = _session(context)
        try:
            tag = triage.tag_named(session, inputs.tag)
            added = triage.tag(session, inputs.conversation_id, actor=self._actor(context), tag_id=tag.id)
        except (InvalidInput, NotFound) as error:
            raise PermanentFailure(str(error)) from error
        return "The tag was put on." if added else "The tag was on it already."


class AssignConversation(_Ours):
    """Give a conversation to somebody."""

    name = "assign_conversation"
    title = "Give the conversation to somebody"
    description = "Says which operator has the conversation. Nobody loses one by it that they have taken meanwhile."
    risk = Risk.LOW_WRITE
    # It asks the host who that is, which no transaction of ours waits for. Done again, it changes nothing.
    kind = ToolKind.EXTERNAL
    idempotent = True
    filled = {"conversation_id": "conversation.id"}  # noqa: RUF012 - never changed
    needs = Permission.CONVERSATIONS_REPLY

    class Input(BaseModel):
        conversation_id: int
        operator_id: str = Field(title="Operator", description="Your app's id of the operator.", max_length=200)

    def preview(self, inputs: Input, context: ToolContext) -> Consequence:
        to = self._person(inputs)
        has = context.conversation.assignee_id if context.conversation else None
        if has == to.id:
            raise PermanentFailure(f"{to.name} has this conversation already.")
        return Consequence(f"Gives this conversation to {to.name}.", (Change("Who has it", has or "Nobody", to.name),))

    def run(self, inputs: Input, context: ToolContext) -> str:
        to = self._person(inputs)
        had = context.conversation.assignee_id if context.conversation else None
        session: Session = current().session()
        try:
            triage.reassign(session, inputs.conversation_id, actor=self._actor(context), assignee=to, had=had)
            session.commit()
        except (CustomerForgotten, NotFound, Taken) as error:
            raise PermanentFailure(str(error)) from error
        return f"{to.name} has the conversation now."

    def _person(self, inputs: Input) -> Operator:
        found = current().hooks.resolve_operator(inputs.operator_id)
        if found is None:
            raise PermanentFailure("Nobody with this id works at the desk.")
        return found


class SetPriority(_Ours):
    """Say how urgent a conversation is."""

    name = "set_priority"
    title = "Set the priority"
    description = "Says how urgent the conversation is. Urgent ones stand first in lists sorted by it."
    risk = Risk.LOW_WRITE
    kind = ToolKind.TRANSACTIONAL
    filled = {"conversation_id": "conversation.id"}  # noqa: RUF012 - never changed
    needs = Permission.CONVERSATIONS_REPLY

    class Input(BaseModel):
        conversation_id: int
        priority: Literal["urgent", "high", "normal", "low"] = Field(title="Priority")

    def preview(self, inputs: Input, context: ToolContext) -> str:  # noqa: ARG002
        return f"Sets this conversation to {inputs.priority} priority. The customer never sees it."

    def run(self, inputs: Input, context: ToolContext) -> str:
        priority = Priority.parse(inputs.priority) or Priority.NORMAL
        try:
            triage.set_priority(
                _session(context), inputs.conversation_id, actor=self._actor(context), priority=priority
            )
        except (CustomerForgotten, NotFound) as error:
            raise PermanentFailure(str(error)) from error
        return f"The priority is {inputs.priority} now."


class SearchKnowledge(_Ours):
    """Search the articles."""

    name = "search_knowledge"
    title = "Search the articles"
    description = "Finds passages of published articles that may answer a question."
    risk = Risk.READ_ONLY
    kind = ToolKind.EXTERNAL
    idempotent = True  # it changes nothing
    timeout = 20.0
    needs = Permission.KNOWLEDGE_READ

    class Input(BaseModel):
        question: str = Field(title="Question", min_length=2, max_length=2000)

    def preview(self, inputs: Input, context: ToolContext) -> str:  # noqa: ARG002
        return "Reads published articles. It changes nothing."

    def run(self, inputs: Input, context: ToolContext) -> Outcome:
        cairnloop = current()
        tags = cairnloop.hooks.article_scope(context.customer) if context.customer else None
        besides = context.conversation.id if context.conversation else None
        session: Session = cairnloop.session()
        # A token that acts for one customer reads what they may.
        audience = Audience.PUBLIC if context.token is not None and context.token.bound else None
        found = search(session, inputs.question, limit=PASSAGES, audience=audience, tags=tags, besides=besides).passages
        passages = [
            {
                "article_id": one.article_id,
                "title": one.title,
                "heading": one.heading,
                "text": one.content[:EXCERPT],
                "public": one.public,
            }
            for one in found
        ]
        if not passages:
            return Outcome("No article was found.", {"passages": []})
        how_many = "one passage" if len(passages) == 1 else f"{len(passages)} passages"
        return Outcome(f"Found {how_many}, first in “{passages[0]['title']}”.", {"passages": passages})


class CustomerContext(_Ours):
    """Read what the host knows about a customer."""

    name = "customer_context"
    title = "Look up the customer"
    description = "Reads what your app knows about the customer of the conversation."
    risk = Risk.READ_ONLY
    kind = ToolKind.EXTERNAL
    idempotent = True  # it changes nothing
    filled = {"conversation_id": "conversation.id"}  # noqa: RUF012 - never changed
    needs = Permission.CONVERSATIONS_READ

    class Input(BaseModel):
        conversation_id: int

    def preview(self, inputs: Input, context: ToolContext) -> str:  # noqa: ARG002
        return "Reads what your app knows about this customer. It changes nothing."

    def run(self, inputs: Input, context: ToolContext) -> Outcome:  # noqa: ARG002
        if context.customer is None or context.conversation is None:
            raise PermanentFailure("This conversation has no customer any more.")
        view = current().hooks.load_context(context.customer, context.conversation)
        if view.state == "not_configured":
            raise PermanentFailure("Your app has no CAIRNLOOP_CONTEXT_PROVIDER.")
        if view.state == "failed":
            raise PermanentFailure("Your app did not answer.")
        data = {"facts": dict(view.facts), "sections": {title: dict(pairs) for title, pairs in view.sections}}
        return Outcome("Your app knows nothing about them." if view.state == "empty" else "Read.", data)


def _session(context: ToolContext) -> Session:
    assert context.session is not None  # noqa: S101 - a transactional tool that runs always has one
    return context.session


BUILT_IN_TOOLS: tuple[type[Tool], ...] = (
    AddNote,
    ResolveConversation,
    TagConversation,
    AssignConversation,
    SetPriority,
    SearchKnowledge,
    CustomerContext,
)
