"""Project folders of hosts, and the commands that a host's developer types in them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support import warm
from tests.support.processes import ROOT, RUN_DIR

COMMAND_SECONDS = 120


def run(words: str | list[str], folder: Path, env: dict[str, str] | None = None) -> str:
    """Run a command in a host's folder as its developer would, and return what it said.

    Args:
        words: a list; or a line for the shell, as it stands in a guide.
        env: what the shell has set, beside what this process has.
    """
    status, said = shell(words, folder, environment(env))
    assert status == 0, f"{words}\n{said}"
    return said


def shell(words: str | list[str], folder: Path, env: dict[str, str]) -> tuple[int, str]:
    """How a command ended, and what it said."""
    done = subprocess.run(
        words if isinstance(words, list) else ["bash", "-euo", "pipefail", "-c", words],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
    )
    return done.returncode, done.stdout + done.stderr


def environment(env: dict[str, str] | None = None) -> dict[str, str]:
    """A shell in which this checkout is installed: its package can be imported, its commands are found.

    ``flask`` is the one that starts at once.
    """
    return {
        **os.environ,
        **(env or {}),
        "PATH": os.pathsep.join(
            [
                str(warm.commands(Path(os.environ[RUN_DIR]))),
                str(Path(sys.executable).parent),
                os.environ.get("PATH", ""),
            ]
        ),
        "PYTHONPATH": str(ROOT),
    }
