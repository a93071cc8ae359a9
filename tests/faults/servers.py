"""A PostgreSQL and a Valkey of a test's own, to be frozen, stopped, killed and started again at the same address."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from redis import Redis

from example_app import servers
from tests.support import databases
from tests.support.host import create_tables, make_host

# Nothing has to survive the machine, but everything that was committed a crash of the server.
SETTINGS = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "on", "autovacuum": "off"}


class OwnValkey:
    """Runs from the beginning."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pid: int | None = None
        self.start()

    @property
    def url(self) -> str:
        found = servers.valkey_url(self._folder)
        assert found is not None
        return found

    def start(self) -> None:
        """Start it empty."""
        servers.start_valkey(self._folder)
        with Redis.from_url(self.url) as client:
            self._pid = int(client.info("server")["process_id"])

    def freeze(self) -> None:
        """It takes connections, as its host does that for it, and answers none."""
        assert self._pid is not None
        os.kill(self._pid, signal.SIGSTOP)

    def kill(self) -> None:
        """It is gone with everything in it. Does nothing a second time."""
        if self._pid is not None:
            os.kill(self._pid, signal.SIGKILL)
            self._pid = None


class OwnPostgres:
    """Runs from the beginning, with one migrated database."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.start()
        found = servers.postgres_url(folder)
        assert found is not None
        with databases.admin(found) as connection:
            connection.execute("CREATE DATABASE desk")
        self.url = databases.database_url(found, "desk")
        create_tables(make_host(self.url))

    def start(self) -> None:
        servers.start_postgres(self._folder, SETTINGS)

    def stop(self, how: signal.Signals) -> None:
        servers.stop_postgres(self._folder, how)
