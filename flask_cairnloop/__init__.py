"""A customer-support desk inside your own Flask app."""

from flask_cairnloop.actors import Actor
from flask_cairnloop.conversations.service import (
    add_note,
    assign,
    open_conversation,
    receive,
    reopen,
    reply,
    resolve,
)
from flask_cairnloop.drafting.anthropic import AnthropicDraftGenerator
from flask_cairnloop.drafting.citing import Cite
from flask_cairnloop.drafting.ledger import Price
from flask_cairnloop.drafting.manner import Manner
from flask_cairnloop.drafting.openai import OpenAIDraftGenerator
from flask_cairnloop.drafting.types import Citation, Declined, DraftKind, Grounding, PolicyDecision, Proposal
from flask_cairnloop.extension import Cairnloop
from flask_cairnloop.files.keeping import keep_file
from flask_cairnloop.governance.builtin import AddNote, CustomerContext, ResolveConversation, SearchKnowledge
from flask_cairnloop.governance.models import ActionApproval, ActionProposal
from flask_cairnloop.governance.service import propose_action
from flask_cairnloop.governance.tools import (
    Change,
    Consequence,
    Outcome,
    PermanentFailure,
    RetryableFailure,
    Tool,
    ToolContext,
)
from flask_cairnloop.governance.types import PolicyAnswer, ProposalState, Risk, Tier, ToolKind
from flask_cairnloop.hooks import (
    ActionInfo,
    AuditInfo,
    BreachEvent,
    ConversationInfo,
    Customer,
    DraftInfo,
    Operator,
    Permission,
    ReplyUnseenEvent,
    ResolvedEvent,
    SignedCustomerVerifier,
    Subject,
)
from flask_cairnloop.outbound.service import follow_up
from flask_cairnloop.outbound.types import Delivery, idempotent
from flask_cairnloop.privacy.service import export as export_customer
from flask_cairnloop.privacy.service import forget as forget_customer
from flask_cairnloop.realtime.publish import disconnect, disconnect_operator
from flask_cairnloop.retrieval.search import search
from flask_cairnloop.retrieval.types import Strength
from flask_cairnloop.service_levels.types import BusinessHours, Interval, ServiceLevel
from flask_cairnloop.upkeep.writing import Brief, Paragraph, Source, Written

__version__ = "0.1.0"
__all__ = [
    "ActionApproval",
    "ActionInfo",
    "ActionProposal",
    "Actor",
    "AddNote",
    "AnthropicDraftGenerator",
    "AuditInfo",
    "BreachEvent",
    "Brief",
    "BusinessHours",
    "Cairnloop",
    "Change",
    "Citation",
    "Cite",
    "Consequence",
    "ConversationInfo",
    "Customer",
    "CustomerContext",
    "Declined",
    "Delivery",
    "DraftInfo",
    "DraftKind",
    "Grounding",
    "Interval",
    "Manner",
    "OpenAIDraftGenerator",
    "Operator",
    "Outcome",
    "Paragraph",
    "PermanentFailure",
    "Permission",
    "PolicyAnswer",
    "PolicyDecision",
    "Price",
    "Proposal",
    "ProposalState",
    "ReplyUnseenEvent",
    "ResolveConversation",
    "ResolvedEvent",
    "RetryableFailure",
    "Risk",
    "SearchKnowledge",
    "ServiceLevel",
    "SignedCustomerVerifier",
    "Source",
    "Strength",
    "Subject",
    "Tier",
    "Tool",
    "ToolContext",
    "ToolKind",
    "Written",
    "add_note",
    "assign",
    "disconnect",
    "disconnect_operator",
    "export_customer",
    "follow_up",
    "forget_customer",
    "idempotent",
    "keep_file",
    "open_conversation",
    "propose_action",
    "receive",
    "reopen",
    "reply",
    "resolve",
    "search",
]
