"""Finding a Chromium: an installed one first, else Playwright's own download."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from playwright.sync_api import Playwright

# The shell has no window, and no pages of the browser to load for every context: it takes a quarter of the time.
NAMES = (
    *("chromium-headless-shell", "chrome-headless-shell"),
    *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"),
)
PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
# No telephone calls home, no first-run pages; a container has little shared memory.
FLAGS = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-domain-reliability",
    "--disable-sync",
    "--no-first-run",
    "--no-pings",
)


def find(playwright: Playwright) -> str | None:
    """The path of a browser to drive, or ``None``. ``CAIRNLOOP_TEST_CHROMIUM`` goes first."""
    named = os.environ.get("CAIRNLOOP_TEST_CHROMIUM")
    if named:
        return named
    installed = next((path for name in NAMES if (path := shutil.which(name))), None)
    places = (*PLACES, playwright.chromium.executable_path)
    return installed or next((place for place in places if Path(place).exists()), None)


def flags() -> list[str]:
    """Command line flags; as root Chromium refuses to run with its sandbox."""
    return [*FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
