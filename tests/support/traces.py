"""Whether anything of a person is left: every row of every table, and everything in Redis, as text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from redis import Redis
from sqlalchemy import text
from sqlalchemy.orm import Session

TABLES = """
    SELECT table_schema, table_name FROM information_schema.tables
    WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')
    ORDER BY 1, 2
"""


def found(session: Session, redis: Redis, words: Iterable[str], *, left_out: frozenset[str] = frozenset()) -> set[str]:
    """Where a word stands, whatever its case, as ``"<word> in <table>"`` or ``"<word> in redis <key>"``.

    Args:
        left_out: tables that are none of ours, such as the host's own people.
    """
    wanted = {word.casefold() for word in words}
    places: set[str] = set()
    for schema, table in session.execute(text(TABLES)).all():
        if table in left_out:
            continue
        for row in session.scalars(text(f'SELECT row_to_json(t)::text FROM "{schema}"."{table}" t')):
            places |= {f"{word} in {table}" for word in wanted if word in row.casefold()}
    for key in redis.scan_iter():
        said = repr((key, _value(redis, key))).casefold()
        places |= {f"{word} in redis {key!r}" for word in wanted if word in said}
    return places


def _value(redis: Redis, key: bytes) -> Any:
    match redis.type(key):
        case b"string":
            return redis.get(key)
        case b"hash":
            return redis.hgetall(key)
        case b"list":
            return redis.lrange(key, 0, -1)
        case b"set":
            return redis.smembers(key)
        case b"zset":
            return redis.zrange(key, 0, -1)
        case b"none":  # it went while we looked
            return None
        case b"stream":
            return redis.xrange(key)
        case kind:
            raise AssertionError(f"{key!r} is a {kind!r}, which nobody has looked into")
