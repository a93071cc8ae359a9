"""Who has to agree: pure rules over risk, the host's keys and its policy.

Whatever the host's policy says can only make it stricter. Milder than the table below it gets by one key alone,
``LOOSEN_TOOLS``, which names the tool.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from flask_cairnloop.governance.types import PolicyAnswer, Risk, Tier

BASE: Final = {
    Risk.READ_ONLY: Tier.AUTO,
    Risk.LOW_WRITE: Tier.ONE,
    Risk.HIGH_WRITE: Tier.OTHER,
    Risk.DESTRUCTIVE: Tier.TWO,
}
WEIGHT: Final = {risk: weight for weight, risk in enumerate(Risk)}
FOUR_EYES: Final = (Risk.HIGH_WRITE, Risk.LOW_WRITE)  # from which risk on another person has to approve
_ORDER: Final = {tier: number for number, tier in enumerate(Tier)}
_BY_POLICY: Final = {PolicyAnswer.AUTO: Tier.AUTO, PolicyAnswer.APPROVAL: Tier.ONE, PolicyAnswer.REFUSE: Tier.REFUSE}
_NEEDED: Final = {Tier.AUTO: 0, Tier.ONE: 1, Tier.OTHER: 1, Tier.TWO: 2, Tier.REFUSE: 0}


def strictest(*tiers: Tier) -> Tier:
    """The one that asks for most."""
    return max(tiers, key=_ORDER.__getitem__)


def tier_of(risk: Risk, *, four_eyes: Risk, loosened: Tier | None, policy: PolicyAnswer | None) -> Tier:
    """Who has to agree to an action.

    Args:
        risk: the tool's.
        four_eyes: ``FOUR_EYES``: from this risk on, another person has to approve.
        loosened: what ``LOOSEN_TOOLS`` says of the tool, if it names it.
        policy: what ``ACTION_POLICY`` says; ``None`` without an opinion.
    """
    tier = BASE[risk]
    if risk is not Risk.READ_ONLY and WEIGHT[risk] >= WEIGHT[four_eyes]:
        tier = strictest(tier, Tier.OTHER)
    if loosened is not None:
        tier = min(tier, loosened, key=_ORDER.__getitem__)
    return tier if policy is None else strictest(tier, _BY_POLICY[policy])


def needed(tier: Tier) -> int:
    """How many persons have to approve."""
    return _NEEDED[tier]


def confirmed(tier: Tier) -> bool:
    """Whether each of them types a confirmation."""
    return tier is Tier.TWO


def other_person(tier: Tier) -> bool:
    """Whether whoever proposed it is none of them."""
    return tier in (Tier.OTHER, Tier.TWO)


def satisfied(tier: Tier, proposer: str, approvers: Collection[str]) -> bool:
    """Whether those who approved are enough."""
    if tier is Tier.REFUSE:
        return False
    counted = {who for who in approvers if not (other_person(tier) and who == proposer)}
    return len(counted) >= needed(tier)


def why_not(tier: Tier, proposer: str, approvers: Collection[str], who: str) -> str | None:
    """Why somebody cannot approve, by these rules alone, in a sentence for them; ``None`` when they can."""
    if other_person(tier) and who == proposer:
        return "You proposed it, so somebody else has to approve it."
    if who in approvers:
        return "You have approved it. It needs one more person."
    return None
