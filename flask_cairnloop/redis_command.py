"""One command to Redis, with as little around it as can be."""

from __future__ import annotations

from typing import Any

from redis import Redis


def command(redis: Redis, *words: str | int) -> Any:
    """Send one command and read the answer, on a connection of the client's pool.

    The client's own methods spend more time on choosing callbacks, retries and metrics, of which we use none, than the
    command takes; these are for what every message does.

    Raises:
        redis.RedisError: Redis cannot be reached, or refuses the command.
    """
    pool = redis.connection_pool
    connection = pool.get_connection()
    try:
        connection.send_command(*words)  # type: ignore[no-untyped-call]
        return connection.read_response()
    finally:
        pool.release(connection)
