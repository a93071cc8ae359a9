"""How a text names a file, the same wherever the desk is mounted and in the folder of an export. Pure.

``files/<uuid>/<name>`` is the one form: ``![Alt](files/6f…/plan.png)`` or ``[Price list](files/0c…/prices.pdf)``. Only
the UUID counts; the name is for people, and is the file's name in an export, beside the Markdown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote
from uuid import UUID

IMAGES: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
FOLDER: Final = "files"
_REFERENCE: Final = re.compile(rf"{FOLDER}/([0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}})/[^/?#]+")


@dataclass(frozen=True, slots=True)
class Shown:
    """What a page needs to know of a file.

    Args:
        address: where it is fetched.
        width, height: in pixels, of an image.
    """

    address: str
    name: str
    media_type: str
    width: int | None = None
    height: int | None = None

    @property
    def is_image(self) -> bool:
        """Whether it may stand in a page as a picture."""
        return self.media_type in IMAGES


def reference(uuid: UUID, name: str) -> str:
    """The target of a link to a file."""
    return f"{FOLDER}/{uuid}/{quote(name, safe='')}"


def named(target: str) -> UUID | None:
    """The file that the target of a link names; ``None`` where it names none."""
    found = _REFERENCE.fullmatch(target)
    return UUID(found[1]) if found else None


def as_markdown(uuid: UUID, name: str, *, is_image: bool, words: str = "") -> str:
    """An image, or a link to a file, in Markdown.

    Args:
        words: what describes the image, or the link says; the file's name when left out.
    """
    said = " ".join((words or name).split())
    said = re.sub(r"([\\\[\]`*_<>!&~])", r"\\\1", said)
    return f"{'!' if is_image else ''}[{said}]({reference(uuid, name)})"
