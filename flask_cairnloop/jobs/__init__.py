"""Durable deferred work: an outbox in PostgreSQL, executed by RQ."""

from flask_cairnloop.jobs.models import Job, JobState, QueueName
from flask_cairnloop.jobs.outbox import enqueue, publish, publish_conversation, send_signal
from flask_cairnloop.jobs.registry import GiveUp, JobContext, job

__all__ = [
    "GiveUp",
    "Job",
    "JobContext",
    "JobState",
    "QueueName",
    "enqueue",
    "job",
    "publish",
    "publish_conversation",
    "send_signal",
]
