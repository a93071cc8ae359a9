"""The table of keys in the README, made from ``config.py``.

``python -m tests.example.configuration_table`` writes it anew.
"""

from __future__ import annotations

import re
from pathlib import Path

from flask_cairnloop.config import KEYS, Key

README = Path(__file__).resolve().parents[2] / "README.md"
BLOCK = re.compile(r"(?<=<!-- configuration: begin -->\n).*?(?=<!-- configuration: end -->)", re.DOTALL)


def table() -> str:
    """All keys as a Markdown table."""
    rows = "".join(f"| `{key.name}` | {_type(key)} | {_default(key)} | {_cell(key.meaning)} |\n" for key in KEYS)
    return f"| Key | Type | Default | Meaning |\n| --- | --- | --- | --- |\n{rows}"


def written() -> str:
    """The table as the README has it."""
    found = BLOCK.search(README.read_text())
    return found[0] if found else ""


def _type(key: Key) -> str:
    return f"{key.kind}, secret" if key.secret else key.kind


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _default(key: Key) -> str:
    return "unset" if key.default is None else f"`{key.default!r}`" if key.default != "" else "empty"


if __name__ == "__main__":
    README.write_text(BLOCK.sub(lambda _: table(), README.read_text()))
