"""Real processes of a host app: a web server and a worker."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from redis import Redis
from rq import Worker

from tests.support.databases import RUN_DIR

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 40.0
STOP_SECONDS = 30.0
CLEAN_STOP = ("--config", "python:flask_cairnloop.realtime.gunicorn")
T = TypeVar("T")


@dataclass(frozen=True)
class Process:
    """A running process of the host.

    Args:
        popen: the process itself, to be signalled by tests that do so.
        log: the file with its output.
        url: where it answers; empty for a worker.
    """

    popen: subprocess.Popen[bytes]
    log: Path
    url: str = ""

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")


def environment(database_url: str, redis_url: str, **config: Any) -> dict[str, str]:
    """What ``tests.support.host:create_app`` reads. The values of ``config`` have to be JSON."""
    return {
        **os.environ,
        "TEST_DATABASE_URL": database_url,
        "TEST_REDIS_URL": redis_url,
        "TEST_CONFIG": json.dumps(config),
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def web_server(
    env: dict[str, str],
    *,
    options: Sequence[str] = ("--worker-class", "gthread", "--threads", "24", *CLEAN_STOP),
    app: str = "tests.support.host:create_app()",
    folder: Path = ROOT,
) -> Iterator[Process]:
    """gunicorn, as the README runs it. ``folder`` is where the app lies."""
    port = free_port()
    where = ("--bind", f"127.0.0.1:{port}", "--graceful-timeout", "60", "--no-control-socket")
    url = f"http://127.0.0.1:{port}"
    with _running([sys.executable, "-m", "gunicorn", *options, *where, app], env, url, folder) as process:
        wait_until(lambda: _answers(url), process)
        yield process


@contextmanager
def development_server(env: dict[str, str], command: Sequence[str], folder: Path) -> Iterator[Process]:
    """``flask run``, as its developer starts it in a folder."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with _running([sys.executable, "-m", *command, "--port", str(port)], env, url, folder) as process:
        wait_until(lambda: _answers(url), process)
        yield process


@contextmanager
def worker(
    env: dict[str, str], *arguments: str, app: str = "tests.support.host:create_app", folder: Path = ROOT
) -> Iterator[Process]:
    """``flask cairnloop worker``, ready when it has registered with RQ."""
    redis = Redis.from_url(env["TEST_REDIS_URL"])
    namespace = json.loads(env["TEST_CONFIG"]).get("REDIS_NAMESPACE", "cairnloop")
    command = [sys.executable, "-m", "flask", "--app", app, "cairnloop", "worker"]
    with redis, _running([*command, *arguments], env, folder=folder) as process:
        wait_until(lambda: any(w.name.startswith(namespace) for w in Worker.all(connection=redis)), process)
        yield process


def wait_until(ready: Callable[[], T | None], process: Process | None = None, seconds: float = READY_SECONDS) -> T:
    """Poll until ``ready()`` is true, and return it; fail with the process's output when it ended or time is up."""
    deadline = time.monotonic() + seconds
    while not (found := ready()):
        ended = process is not None and process.popen.poll() is not None
        if ended or time.monotonic() > deadline:
            raise AssertionError(
                f"{'It ended' if ended else 'Nothing'} within {seconds} s.\n{process.output if process else ''}"
            )
        time.sleep(0.05)
    return found


def children(pid: int) -> set[int]:
    """The living child processes of a process."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile
            if int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1]) == pid:
                found.add(int(folder.name))
    return found


@contextmanager
def _running(command: list[str], env: dict[str, str], url: str = "", folder: Path = ROOT) -> Iterator[Process]:
    with tempfile.NamedTemporaryFile(dir=os.environ.get(RUN_DIR), prefix="process-", suffix=".log") as log:
        popen = subprocess.Popen(
            command,
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a group of its own, to be signalled as a terminal does it
        )
        try:
            yield Process(popen, Path(log.name), url)
        finally:
            popen.terminate()
            try:
                popen.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                popen.kill()
                popen.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/host/chat/nobody", timeout=5):  # noqa: S310 - our own server
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
