"""The words of governed actions, as plain values."""

from __future__ import annotations

from enum import StrEnum


class Risk(StrEnum):
    """What a tool can do to the world, from nothing to what cannot be undone."""

    READ_ONLY = "read_only"
    LOW_WRITE = "low_write"
    HIGH_WRITE = "high_write"
    DESTRUCTIVE = "destructive"


class ToolKind(StrEnum):
    """Where a tool's effect lies."""

    TRANSACTIONAL = "transactional"  # in this database, by the session it is given: effect and outcome commit together
    EXTERNAL = "external"  # anywhere else: a cut between effect and record leaves it uncertain


class Tier(StrEnum):
    """Who has to agree before an action runs, from the mildest to the strictest."""

    AUTO = "auto"  # nobody
    ONE = "one"  # one person, who may be the one who proposed it
    OTHER = "other"  # one person, who did not propose it
    TWO = "two"  # two persons, neither of whom proposed it; each types a confirmation
    REFUSE = "refuse"  # it does not run


class PolicyAnswer(StrEnum):
    """What ``ACTION_POLICY`` says of an action."""

    AUTO = "auto"  # no objection; it lifts nothing
    APPROVAL = "approval"  # a person at least
    REFUSE = "refuse"


class Refusal(StrEnum):
    """Why an action was refused when it was proposed."""

    PERMISSION = "permission"  # whoever proposed it may not propose actions
    SCOPE = "scope"  # they lack what this tool asks for
    TOOL = "tool"  # its own `authorize` said no
    POLICY = "policy"  # `ACTION_POLICY` said no


class ProposalState(StrEnum):
    """The one honest state of an action."""

    PENDING = "pending"  # waits for an approval
    DEFERRED = "deferred"  # comes back by itself
    APPROVED = "approved"  # waits for a worker
    RUNNING = "running"  # an external tool has been called, or is about to be
    UNCERTAIN = "uncertain"  # cut off between effect and record: a person has to look
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REFUSED = "refused"  # when it was proposed
    REJECTED = "rejected"  # by a person
    EXPIRED = "expired"
    INVALIDATED = "invalidated"  # approved, and not allowed any more when it was to run
    WITHDRAWN = "withdrawn"


OPEN_STATES = (
    ProposalState.PENDING,
    ProposalState.DEFERRED,
    ProposalState.APPROVED,
    ProposalState.RUNNING,
    ProposalState.UNCERTAIN,
)
OVER_STATES = tuple(state for state in ProposalState if state not in OPEN_STATES)
# Over without an effect: the same can be proposed again.
AGAIN_STATES = tuple(state for state in OVER_STATES if state is not ProposalState.SUCCEEDED)


class ApprovalState(StrEnum):
    """What became of one question to a person."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    DEFERRED = "deferred"
    CLOSED = "closed"  # nobody's answer is waited for any more
    SET_ASIDE = "set_aside"  # given, and lost again because what it was given for was changed


class EventKind(StrEnum):
    """What happened to an action."""

    PROPOSED = "proposed"
    REFUSED = "refused"
    AUTO_APPROVED = "auto_approved"
    EDITED = "edited"
    APPROVAL_GIVEN = "approval_given"  # one of two
    APPROVAL_SET_ASIDE = "approval_set_aside"
    APPROVED = "approved"
    REJECTED = "rejected"
    DEFERRED = "deferred"
    CAME_BACK = "came_back"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    INVALIDATED = "invalidated"
    STARTED = "started"
    ATTEMPT_FAILED = "attempt_failed"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    BECAME_UNCERTAIN = "became_uncertain"
    SETTLED = "settled"
