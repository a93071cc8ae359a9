"""Deferred work about actions: the runs, and what is due at a time.

Their arguments name the conversation as well: so they go when its customer is forgotten.
"""

from __future__ import annotations

from flask_cairnloop.clock import now
from flask_cairnloop.config import LONGEST_HOOK
from flask_cairnloop.errors import Conflict, NotFound
from flask_cairnloop.governance import queries, running, service, transitions
from flask_cairnloop.governance.transitions import SYSTEM
from flask_cairnloop.governance.types import ProposalState
from flask_cairnloop.jobs import JobContext, QueueName, job
from flask_cairnloop.tokens import service as tokens
from flask_cairnloop.tokens.types import ID_PREFIX

# Seconds. Host code is asked twelve times at most: for each of three people who they are, what they may and whether
# the tool lets them; the policy; the tool itself. Each may use its whole time; the rest is ours.
TIMEOUT = 12 * LONGEST_HOOK + 60


def give_up(context: JobContext, *, proposal_id: int, **_: object) -> None:
    """The action will not be run by this job: say so on it."""
    running.give_up(context, proposal_id)


def never_again(context: JobContext, *, proposal_id: int, **_: object) -> None:
    """Somebody wants the job run again. What was to be done is over; it can be proposed again, and is decided anew."""
    proposal = service.get(context.session, proposal_id)
    if proposal.state is not ProposalState.APPROVED:
        raise Conflict("This action is over, or nobody knows how it ended. Look at it on its page.")


@job(
    service.RUN,
    queue=QueueName.INTERACTIVE,
    max_attempts=8,  # of asking a host that is away, about four minutes; a tool's own attempts are counted with it
    timeout=TIMEOUT,
    on_dead=give_up,
    on_retry=never_again,
)
def run(context: JobContext, *, proposal_id: int, **_: object) -> None:
    """Run an approved action."""
    running.run(context, proposal_id)


@job(tokens.STOP)
def stop_token(context: JobContext, *, token_id: int) -> None:
    """Take back what a token that works no more has asked for and what has not run. A run itself is not cut off."""
    for number in queries.open_of(context.session, f"{ID_PREFIX}{token_id}"):
        proposal = transitions.lock(context.session, number)
        if proposal.state in transitions.TRANSITIONS["be withdrawn"][0]:
            proposal.decided_at = now()
            transitions.step(context.session, proposal, "be withdrawn", SYSTEM, because="token")


@job(service.WAKE, max_attempts=8)
def wake(context: JobContext, *, proposal_id: int, **_: object) -> None:
    """Do what is due about an action that waits: let it expire, or ask about it again."""
    try:
        proposal = transitions.lock(context.session, proposal_id)
    except NotFound:
        return
    if proposal.state is ProposalState.PENDING and proposal.expires_at <= now():
        proposal.decided_at = now()
        transitions.step(context.session, proposal, "expire", SYSTEM)
    elif proposal.state is ProposalState.DEFERRED and proposal.deferred_until and proposal.deferred_until <= now():
        service.come_back(context.session, proposal, SYSTEM)
    elif proposal.state in (ProposalState.PENDING, ProposalState.DEFERRED):  # it was put off meanwhile
        service.wake_again(context.session, proposal)
