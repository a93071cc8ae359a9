"""Every error this library raises on purpose. Edges turn them into answers; nothing else is expected to escape."""

from __future__ import annotations

from typing import ClassVar


class CairnloopError(Exception):
    """Base of all errors raised on purpose."""


class ConfigurationError(CairnloopError):
    """The app's configuration is wrong or incomplete; raised at start, naming the key."""


class InvalidInput(CairnloopError):
    """A value given by a person or a client is not acceptable; nothing was changed.

    Args:
        field: the name of the value, e.g. ``"body"``.
        message: one sentence for the person who gave it.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


class InvalidFields(InvalidInput):
    """Values of a form or a call are not acceptable; nothing was changed.

    Args:
        errors: by the name of the value, one sentence for the person who gave it. It never holds what was given.
    """

    def __init__(self, errors: dict[str, str]) -> None:
        field, message = next(iter(errors.items()))
        super().__init__(field, message)
        self.errors = errors


class NotFound(CairnloopError):
    """The object does not exist, or is not this caller's to see: the two are never told apart."""


class CustomerForgotten(NotFound):
    """The customer was forgotten: their conversations hold no words any more and take none."""

    def __init__(self) -> None:
        super().__init__("The customer was forgotten. Nothing can be added to their conversations.")


class Forbidden(CairnloopError):
    """The actor lacks the permission."""


class Conflict(CairnloopError):
    """The object has changed since the caller looked at it; nothing was changed."""


class IllegalTransition(Conflict):
    """A state machine does not allow this step from the state the object is in.

    Args:
        subject: the noun, e.g. ``"draft"``.
        state: the state it is in now.
        step: what was asked for, e.g. ``"approve"``.
    """

    def __init__(self, subject: str, state: str, step: str) -> None:
        article = "An" if subject[0] in "aeiou" else "A"
        super().__init__(f"{article} {subject} that is {state} cannot {step}.")
        self.subject = subject
        self.state = state
        self.step = step


class RatingClosed(Conflict):
    """A rating is not asked for, or cannot be given or changed any more.

    Args:
        asked: whether there was a time in which it could.
    """

    def __init__(self, asked: bool) -> None:
        super().__init__("It cannot be rated any more." if asked else "No rating is asked for here.")
        self.asked = asked


class Taken(Conflict):
    """Somebody else took the conversation before; it is theirs.

    Args:
        holder_id: the operator who has it; ``None`` where by now nobody has.
        holder_name: what they are called.
    """

    def __init__(self, holder_id: str | None, holder_name: str | None) -> None:
        who = holder_name or holder_id
        super().__init__(f"{who} has it already." if who else "Somebody has just given it back.")
        self.holder_id = holder_id
        self.holder_name = holder_name


class Stale(Conflict):
    """Somebody changed something after the caller last looked.

    Args:
        seen: its number as the caller had seen it.
        newest: what it is now.
    """

    words: ClassVar[str]

    def __init__(self, seen: int, newest: int) -> None:
        super().__init__(self.words)
        self.seen = seen
        self.newest = newest


class StaleConversation(Stale):
    """The customer wrote after the caller last looked. The numbers are sequences of their messages."""

    words = "The customer has written again since you last looked."


class AnsweredMeanwhile(Stale):
    """A colleague answered after the caller last looked. The numbers are sequences of messages."""

    words = "A colleague has answered since you last looked."


class StaleArticle(Stale):
    """Somebody saved the article after the caller last looked. The numbers are its ``edits``."""

    words = "Somebody has saved a newer draft since you last looked."


class StaleAction(Stale):
    """Somebody changed what an action would do after the caller last looked. The numbers are its ``revision``."""

    words = "Somebody has changed this action since you last looked. Read it again before you decide."


class StalePolicy(Stale):
    """Somebody saved the service policy after the caller last looked. The numbers are its versions."""

    words = "Somebody has saved the policy since you last looked. Yours was not saved."


class StaleTemplate(Stale):
    """Somebody saved the template after the caller last looked. The numbers are its ``edits``."""

    words = "Somebody has saved this template since you last looked."


class NotSent(Conflict):
    """A follow-up may not be sent to this customer; nothing was sent.

    Args:
        reason: why, as one of the words of :class:`flask_cairnloop.outbound.types.Reason`.
        message: one sentence for the person who wanted it.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class StaleGap(Stale):
    """Somebody decided something about a gap after the caller last looked. The numbers are its ``version``."""

    words = "Somebody has decided something about this since you last looked. Read it again before you decide."


class StaleSuggestion(Stale):
    """Somebody changed a suggestion after the caller last looked. The numbers are its ``version``."""

    words = "Somebody has changed this suggestion since you last looked. Read it again before you decide."


class OwnWords(Conflict):
    """A second person has to approve a suggestion: nobody approves their own words. Nothing was changed."""

    def __init__(self) -> None:
        super().__init__("These are your own words: somebody else has to approve them.")


class HandoffOver(Conflict):
    """A link into the editor is not this operator's, was used, or is over; nothing was changed."""

    def __init__(self) -> None:
        super().__init__(
            "This link into the editor was used already, is over, or is somebody else’s. Open it again here."
        )


class HookFailed(CairnloopError):
    """A host hook raised, ran out of time or answered something it may not.

    Args:
        key: the configuration key of the hook.
        reason: ``"raised"``, ``"timeout"`` or ``"invalid"``.
        detail: class of the exception or what was answered; never customer text.
    """

    def __init__(self, key: str, reason: str, detail: str) -> None:
        super().__init__(f"{key} {reason}: {detail}")
        self.key = key
        self.reason = reason
        self.detail = detail


class StorageUnavailable(CairnloopError):
    """The file storage did not do what was asked of it; nothing was kept.

    Args:
        step: ``"write"``, ``"read"``, ``"delete"`` or ``"list"``.
        detail: class of the exception; never its words.
    """

    def __init__(self, step: str, detail: str) -> None:
        super().__init__("The file storage does not answer. Nothing was kept; try again in a moment.")
        self.step = step
        self.detail = detail


class NoStorage(CairnloopError):
    """``FILE_STORAGE`` is not set: no file can be kept."""

    def __init__(self) -> None:
        super().__init__("Files cannot be kept: the app has not set CAIRNLOOP_FILE_STORAGE.")
