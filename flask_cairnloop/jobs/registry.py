"""Which functions can be run as jobs, by their stable names."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session

from flask_cairnloop.actors import Actor
from flask_cairnloop.errors import CairnloopError
from flask_cairnloop.jobs.models import QueueName

if TYPE_CHECKING:
    from flask_cairnloop.extension import Cairnloop

# Rooms whose `jobs` module registers functions. Imported on first need, so that models never pull in the whole house.
ROOMS = (
    "audit",
    "conversations",
    "drafting",
    "files",
    "governance",
    "knowledge",
    "outbound",
    "privacy",
    "retrieval",
    "service_levels",
    "upkeep",
)


class GiveUp(CairnloopError):
    """Raised by a job function: trying again cannot help. The job is dead at once, with this reason."""


class TakenOver(CairnloopError):
    """Raised by :meth:`JobContext.keep`: another worker has this job now, and this one stops."""


@dataclass(slots=True)
class JobContext:
    """What a job function gets beside its arguments.

    Args:
        session: its own session. The runner commits what was added to it together with the end of the job.
        cairnloop: the app's extension object.
        attempt: 1-based number of this attempt.
        max_attempts: when ``attempt`` has reached it, a failure is final.
        error: for ``on_dead``: why the job will not run any more.
        actor: for ``on_dead`` and ``on_retry``: the person who decided it; ``None`` when nobody did.
        hold: renews the claim in the session's transaction; whether it is still this attempt's. Set by the runner.
    """

    session: Session
    cairnloop: Cairnloop
    attempt: int
    max_attempts: int
    error: str | None = None
    actor: Actor | None = None
    hold: Callable[[Session], bool] | None = None

    def keep(self) -> None:
        """Commit what was added so far, in the middle of a job: what has to stand before something irrevocable begins.

        Raises:
            TakenOver: somebody else runs this job now. Nothing was committed.
        """
        self.session.flush()
        if self.hold is not None and not self.hold(self.session):
            self.session.rollback()
            raise TakenOver("This job was taken over.")
        self.session.commit()

    def release(self) -> None:
        """End the read transaction, so that slow work or host code runs without holding one. Loaded rows detach."""
        self.session.expunge_all()
        self.session.rollback()


@dataclass(frozen=True, slots=True)
class JobDefinition:
    """A registered job function and how it is run. ``timeout`` in seconds."""

    name: str
    function: Callable[..., None]
    queue: QueueName
    max_attempts: int
    timeout: int
    on_dead: Callable[..., None] | None
    on_retry: Callable[..., None] | None
    at_start: bool = False


@dataclass(frozen=True, slots=True)
class Chore:
    """Something small that a relay does again and again. ``seconds`` between two times."""

    name: str
    function: Callable[[Cairnloop, Session], bool]
    seconds: float


_definitions: dict[str, JobDefinition] = {}
_chores: dict[str, Chore] = {}


def job(
    name: str,
    *,
    queue: QueueName = QueueName.DEFAULT,
    max_attempts: int = 5,
    timeout: int = 120,
    on_dead: Callable[..., None] | None = None,
    on_retry: Callable[..., None] | None = None,
    at_start: bool = False,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register ``function(context, **arguments)`` under a stable name.

    Args:
        on_dead: called like the function, in one transaction with the job's end, when it will not run any more: the
            last attempt has failed, the worker was lost for good, or somebody discarded the job while it waited.
        on_retry: called like the function, in one transaction with the decision to run a job again that had ended so.
        at_start: also asked for, without arguments, whenever a relay starts: something may have been reconfigured.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        if name in _definitions:
            raise ValueError(f"A job named {name} is registered already.")
        _definitions[name] = JobDefinition(name, function, queue, max_attempts, timeout, on_dead, on_retry, at_start)
        return function

    return register


def chore(
    name: str, *, every: float
) -> Callable[[Callable[[Cairnloop, Session], bool]], Callable[[Cairnloop, Session], bool]]:
    """Register ``function(cairnloop, session)``, which every relay calls and commits.

    Several relays may call it at the same moment. It returns whether there is more to do at once.

    Args:
        every: seconds between two times.
    """

    def register(function: Callable[[Cairnloop, Session], bool]) -> Callable[[Cairnloop, Session], bool]:
        if name in _chores:
            raise ValueError(f"A chore named {name} is registered already.")
        _chores[name] = Chore(name, function, every)
        return function

    return register


def chores() -> list[Chore]:
    """All that relays do again and again."""
    _register_rooms()
    return list(_chores.values())


def definition(name: str) -> JobDefinition:
    """The registered job of this name.

    Raises:
        GiveUp: there is none, e.g. after a downgrade.
    """
    if name not in _definitions:
        _register_rooms()
    try:
        return _definitions[name]
    except KeyError:
        raise GiveUp(f"No job is called {name}.") from None


def at_start() -> list[JobDefinition]:
    """Jobs that every relay asks for when it starts."""
    _register_rooms()
    return [found for found in _definitions.values() if found.at_start]


def _register_rooms() -> None:
    for room in ROOMS:
        importlib.import_module(f"flask_cairnloop.{room}.jobs")


def short_error(error: BaseException) -> str:
    """What a job row keeps of an exception: its class and first words, never a traceback."""
    detail: Any = str(error).strip().splitlines()[:1]
    return f"{type(error).__name__}: {detail[0][:400]}" if detail else type(error).__name__
