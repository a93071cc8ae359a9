"""``flask`` as a command that starts at once.

A guide has dozens of commands, and each spends most of its time importing what every host imports. Here one process
imports that once. The ``flask`` of :func:`commands` has it fork, and the fork runs the command with its caller's
folder, environment, arguments and streams, as a process of its own.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[2]
# What the commands of a host import in any case.
MODULES = ("flask_cairnloop", "flask_cairnloop.cli.install", "flask_migrate", "alembic.autogenerate", "psycopg")
STREAMS = 3  # in, out and err
LIMIT = 1 << 20  # bytes of a request: arguments and environment

CLIENT = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as door:
    door.connect({door!r})
    request = dict(arguments=sys.argv, folder=os.getcwd(), environment=dict(os.environ))
    socket.send_fds(door, [json.dumps(request).encode() + b"\\n"], [0, 1, 2])
    status = door.makefile().readline()
sys.exit(int(status) if status else "The process that runs the command is gone.")
"""


@cache
def commands(run_dir: Path) -> Path:
    """A folder in ``run_dir`` for ``PATH``, with such a ``flask``. It works until this process ends."""
    folder = run_dir / f"warm-{os.getpid()}"
    folder.mkdir()
    door = folder / "door"
    command = folder / "flask"
    command.write_text(CLIENT.format(python=sys.executable, door=str(door)))
    command.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(door))
        listener.listen()
        # It ends when its standard input does: with this process, however that ends.
        server = subprocess.Popen(
            [sys.executable, "-m", __name__, str(listener.fileno())],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            pass_fds=[listener.fileno()],
        )
        atexit.register(server.communicate)
    return folder


def serve(listener: socket.socket) -> None:
    """Fork for every request until standard input ends."""
    flask = shutil.which("flask", path=str(Path(sys.executable).parent))
    assert flask is not None
    for module in MODULES:
        importlib.import_module(module)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    if os.fork() == 0:  # who waits for the end
        os.read(0, 1)
        os.kill(os.getppid(), signal.SIGTERM)
        os._exit(0)
    while True:
        door, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _answer(door, flask)
        door.close()


def _answer(door: socket.socket, flask: str) -> NoReturn:
    """Run the command of one request in a child, and tell how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with door:
        said, streams, _, _ = socket.recv_fds(door, LIMIT, STREAMS)
        while not said.endswith(b"\n"):
            said += door.recv(LIMIT)
        child = os.fork()
        if child == 0:
            door.close()
            _run(json.loads(said), streams, flask)
        for stream in streams:
            os.close(stream)
        _, status = os.waitpid(child, 0)
        with contextlib.suppress(BrokenPipeError):  # the caller was killed
            door.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _run(request: dict[str, Any], streams: list[int], flask: str) -> NoReturn:
    """Be the command. It ends as any interpreter does: with what it raises."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = [flask, *request["arguments"][1:]]
    sys.path[0] = str(Path(flask).parent)
    runpy.run_path(flask, run_name="__main__")
    sys.exit()


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
