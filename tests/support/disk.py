"""A database that fails when it comes to committing: its disk is full, or the connection breaks."""

from __future__ import annotations

from types import TracebackType

from flask import Flask

TOO_MUCH = "more than fits"
_FAILING = f"""
CREATE FUNCTION cairnloop.refuse_at_commit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.body LIKE '%%{TOO_MUCH}%%' THEN
        {{failure}}
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER full_disk AFTER INSERT ON cairnloop.messages
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION cairnloop.refuse_at_commit();
"""
FULL = "RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';"
BREAKS = "PERFORM pg_terminate_backend(pg_backend_pid()), pg_sleep(60);"


class FullDisk:
    """Commits of messages with :data:`TOO_MUCH` in them fail, from ``fill()`` on until there is room again.

    A context manager that makes room at its end.
    """

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._full = False

    def fill(self, failure: str = FULL) -> None:
        """:data:`FULL`, or :data:`BREAKS`: the connection is lost over the commit."""
        self._run(_FAILING.replace("{failure}", failure))
        self._full = True

    def free(self) -> None:
        if self._full:
            self._run("DROP FUNCTION cairnloop.refuse_at_commit() CASCADE")
            self._full = False

    def _run(self, statements: str) -> None:
        with self._app.app_context(), self._app.extensions["sqlalchemy"].engine.begin() as connection:
            connection.exec_driver_sql(statements)

    def __enter__(self) -> FullDisk:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.free()
