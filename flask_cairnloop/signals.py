"""Domain events as Blinker signals, sent after commit. The sender is the app; payloads are ids and bounded values.

A receiver that raises is logged and changes nothing: signals are for telling, not for deciding.
"""

from __future__ import annotations

from blinker import Namespace

_namespace = Namespace()

conversation_opened = _namespace.signal("conversation_opened")
"""``conversation_id``, ``channel``"""
message_received = _namespace.signal("message_received")
"""``conversation_id``, ``message_id``, ``channel``"""
reply_sent = _namespace.signal("reply_sent")
"""``conversation_id``, ``message_id``, ``automatic``"""
conversation_resolved = _namespace.signal("conversation_resolved")
"""``conversation_id``, ``actor_kind``"""
conversation_reopened = _namespace.signal("conversation_reopened")
"""``conversation_id``, ``actor_kind``"""
draft_created = _namespace.signal("draft_created")
"""``conversation_id``, ``draft_id``, ``state``, ``kind``, ``grounding``"""
draft_decided = _namespace.signal("draft_decided")
"""``conversation_id``, ``draft_id``, ``decision``"""
article_published = _namespace.signal("article_published")
"""``article_id``, ``revision_id``"""
