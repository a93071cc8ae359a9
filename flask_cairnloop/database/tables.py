"""All tables, imported in one place, so that the metadata is complete."""

from flask_cairnloop.audit.models import AuditEntry
from flask_cairnloop.conversations.models import Conversation, ConversationRead, CustomerRecord, Message
from flask_cairnloop.database.base import Base
from flask_cairnloop.drafting.models import Draft
from flask_cairnloop.jobs.models import Job, WorkerProcess
from flask_cairnloop.knowledge.models import Article, Revision
from flask_cairnloop.retrieval.models import Chunk, ChunkEmbedding, EmbeddingModel, IndexEntry

metadata = Base.metadata

__all__ = [
    "Article",
    "AuditEntry",
    "Chunk",
    "ChunkEmbedding",
    "Conversation",
    "ConversationRead",
    "CustomerRecord",
    "Draft",
    "EmbeddingModel",
    "IndexEntry",
    "Job",
    "Message",
    "Revision",
    "WorkerProcess",
    "metadata",
]
