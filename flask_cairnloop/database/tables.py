"""All tables, imported in one place, so that the metadata is complete."""

from flask_cairnloop.audit.models import AuditCheckpoint, AuditEntry, AuditLink, AuditText, AuditUnsealed
from flask_cairnloop.conversations.models import (
    Conversation,
    ConversationRead,
    ConversationTerms,
    CustomerRecord,
    Mention,
    Message,
    MessageFile,
    PendingReply,
    Rating,
    UnsentText,
)
from flask_cairnloop.database.base import Base
from flask_cairnloop.drafting.models import Draft
from flask_cairnloop.files.models import File
from flask_cairnloop.governance.models import ActionApproval, ActionEvent, ActionProposal
from flask_cairnloop.jobs.models import Job, WorkerProcess
from flask_cairnloop.knowledge.models import Article, ArticleFile, ArticleStanding, ArticleVote, Revision
from flask_cairnloop.macros.models import Macro
from flask_cairnloop.outbound.models import (
    OutboundDelivery,
    OutboundEnvelope,
    OutboundSuppression,
    OutboundTemplate,
)
from flask_cairnloop.retrieval.models import (
    Chunk,
    ChunkEmbedding,
    EmbeddingModel,
    GroundingCalibration,
    IndexEntry,
    PastAnswer,
    PastQuestion,
    PastQuestionEmbedding,
    ResolvedCase,
    Term,
    TermChange,
)
from flask_cairnloop.service_levels.models import ServiceAnswer, ServiceClock, ServicePolicy
from flask_cairnloop.tokens.models import AccessToken
from flask_cairnloop.upkeep.models import (
    GapAsker,
    GapCandidate,
    GapEvent,
    GapHistory,
    GapLink,
    GapModel,
    GapQuestion,
    GapQuestionEmbedding,
    GapTerm,
)
from flask_cairnloop.upkeep.suggestion_models import (
    ArticleSuggestion,
    SuggestionHandoff,
    SuggestionHistory,
    SuggestionQuestion,
)

metadata = Base.metadata

__all__ = [
    "AccessToken",
    "ActionApproval",
    "ActionEvent",
    "ActionProposal",
    "Article",
    "ArticleFile",
    "ArticleStanding",
    "ArticleSuggestion",
    "ArticleVote",
    "AuditCheckpoint",
    "AuditEntry",
    "AuditLink",
    "AuditText",
    "AuditUnsealed",
    "Chunk",
    "ChunkEmbedding",
    "Conversation",
    "ConversationRead",
    "ConversationTerms",
    "CustomerRecord",
    "Draft",
    "EmbeddingModel",
    "File",
    "GapAsker",
    "GapCandidate",
    "GapEvent",
    "GapHistory",
    "GapLink",
    "GapModel",
    "GapQuestion",
    "GapQuestionEmbedding",
    "GapTerm",
    "GroundingCalibration",
    "IndexEntry",
    "Job",
    "Macro",
    "Mention",
    "Message",
    "MessageFile",
    "OutboundDelivery",
    "OutboundEnvelope",
    "OutboundSuppression",
    "OutboundTemplate",
    "PastAnswer",
    "PastQuestion",
    "PastQuestionEmbedding",
    "PendingReply",
    "Rating",
    "ResolvedCase",
    "Revision",
    "ServiceAnswer",
    "ServiceClock",
    "ServicePolicy",
    "SuggestionHandoff",
    "SuggestionHistory",
    "SuggestionQuestion",
    "Term",
    "TermChange",
    "UnsentText",
    "WorkerProcess",
    "metadata",
]
