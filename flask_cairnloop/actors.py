"""Who acts. Every decision and every write carries an actor."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from flask_cairnloop.hooks import Customer, Operator
    from flask_cairnloop.tokens.types import Token


ID_LENGTH = 200
NAME_LENGTH = 200


class ActorKind(StrEnum):
    OPERATOR = "operator"
    CUSTOMER = "customer"
    TOKEN = "token"  # noqa: S105 - a machine with a key of the desk
    POLICY = "policy"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts.

    Args:
        kind: what kind of actor.
        id: the host's id of the operator, the customer's ref, the token's, the policy's or the job's name: 1 to 200
            characters.
        name: how people call them; shown beside what they did. Kept as far as rows have room for it.
        pseudonym: of a customer, what the audit log calls them; looked up there when left out.

    Raises:
        ValueError: the id does not fit.
    """

    kind: ActorKind
    id: str
    name: str
    pseudonym: str | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.id.strip() or len(self.id) > ID_LENGTH or "\x00" in self.id:
            raise ValueError(f"An actor needs an id of 1 to {ID_LENGTH} characters, without NUL.")
        object.__setattr__(self, "name", self.name.replace("\x00", "")[:NAME_LENGTH])

    @classmethod
    def operator(cls, operator: Operator) -> Actor:
        return cls(ActorKind.OPERATOR, operator.id, operator.name)

    @classmethod
    def customer(cls, customer: Customer, pseudonym: str | None = None) -> Actor:
        return cls(ActorKind.CUSTOMER, customer.ref, customer.name or customer.ref, pseudonym)

    @classmethod
    def token(cls, token: Token) -> Actor:
        return cls(ActorKind.TOKEN, token.actor_id, token.name)

    @classmethod
    def policy(cls, name: str) -> Actor:
        return cls(ActorKind.POLICY, f"policy:{name}"[:ID_LENGTH], "Automatic answer")

    @classmethod
    def system(cls, name: str) -> Actor:
        return cls(ActorKind.SYSTEM, f"system:{name}", "Cairnloop")


# What may be named as the actor: hosts have an Operator or a Customer at hand.
Acting: TypeAlias = "Actor | Operator | Customer"


def as_actor(who: Acting) -> Actor:
    """Whoever acts, as an actor.

    Raises:
        TypeError: it is none of the three.
    """
    from flask_cairnloop.hooks import Customer, Operator

    if isinstance(who, Actor):
        return who
    if isinstance(who, Operator):
        return Actor.operator(who)
    if isinstance(who, Customer):
        return Actor.customer(who)
    raise TypeError(f"The actor is {type(who).__name__}; name an Actor, an Operator or a Customer.")
