"""A customer-support desk inside your own Flask app."""

from flask_cairnloop.conversations.service import (
    add_note,
    assign,
    open_conversation,
    receive,
    reopen,
    reply,
    resolve,
)
from flask_cairnloop.extension import Cairnloop
from flask_cairnloop.hooks import ConversationInfo, Customer, Operator, Permission, SignedCustomerVerifier, Subject
from flask_cairnloop.retrieval.search import search

__version__ = "0.1.0"
__all__ = [
    "Cairnloop",
    "ConversationInfo",
    "Customer",
    "Operator",
    "Permission",
    "SignedCustomerVerifier",
    "Subject",
    "add_note",
    "assign",
    "open_conversation",
    "receive",
    "reopen",
    "reply",
    "resolve",
    "search",
]
