"""Images and files beside Markdown on a disk: brought in by an import, written out by an export.

An export writes them where the links of the text lead, ``files/<uuid>/<name>`` beside the Markdown, and leaves the text
as it is. An import takes what an image or a link leads to within the folder that was given, and makes the link ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import unquote
from uuid import UUID

from sqlalchemy.orm import Session

from flask_cairnloop.actors import Actor
from flask_cairnloop.config import Settings
from flask_cairnloop.errors import InvalidInput, NotFound
from flask_cairnloop.files import service
from flask_cairnloop.files.links import FOLDER, named, reference
from flask_cairnloop.files.models import File
from flask_cairnloop.files.service import Stored, Upload
from flask_cairnloop.files.storage import Storage
from flask_cairnloop.knowledge.rendering import files_named, normalized, targets

_DESTINATION: Final = re.compile(
    r"(?P<before>\]\(\s*|^ {0,3}\[[^\]\n]+\]:[ \t]*)"
    r"(?:<(?P<quoted>[^<>\n]+)>|(?P<plain>[^\s<>()]+(?:\([^\s<>()]*\)[^\s<>()]*)*))",
    re.MULTILINE,
)
_OURS: Final = re.compile(rf"{FOLDER}/[0-9a-f-]{{36}}/")


@dataclass(slots=True)
class Found:
    """What the links of a text lead to on the disk.

    Args:
        uploads: what can be taken, by target.
        refused: why a file is not taken, by its path.
    """

    uploads: dict[str, Upload] = field(default_factory=dict)
    refused: dict[Path, str] = field(default_factory=dict)


def look(body: str, folder: Path, root: Path, settings: Settings, articles: frozenset[str]) -> Found:
    """Find what the images and links of a text lead to.

    Args:
        folder: where the text stands.
        root: what is outside of this folder is never read.
        articles: endings of files that are articles themselves.
    """
    found = Found()
    for target in dict.fromkeys(targets(body)):
        path = _inside(target, folder, root)
        if path is None or path.suffix.lower() in articles:
            continue
        try:
            with path.open("rb") as stream:
                found.uploads[target] = service.examine(stream, path.name, settings)
        except InvalidInput as refused:
            found.refused[path] = refused.message
        except OSError as fault:
            found.refused[path] = f"It cannot be read ({fault.strerror})."
    return found


def bring(session: Session, storage: Storage, body: str, uploads: Mapping[str, Upload], *, actor: Actor) -> str:
    """The text with its links leading to files of ours, which are made where there are none yet.

    Bytes are written while no transaction is open: what the session had begun is rolled back before.

    Raises:
        StorageUnavailable: they could not be written.
    """
    known: dict[str, File] = {}
    missing: dict[str, UUID | None] = {}
    ours = {file.uuid: file for file in service.found(session, files_named(body))}
    for target, upload in uploads.items():
        uuid = named(target)
        file = ours.get(uuid) if uuid else None
        if file is not None and file.sha256 == upload.sha256:
            continue
        there = service.known(session, upload)
        if there is not None:
            known[target] = there
        else:
            missing[target] = uuid if uuid not in ours else None
    leads = {target: reference(file.uuid, file.name) for target, file in known.items()}
    session.rollback()
    stored: dict[tuple[str, str], Stored] = {}
    for target, uuid in missing.items():
        upload = uploads[target]
        if (upload.sha256, upload.name) not in stored:  # it may lie in two places
            stored[upload.sha256, upload.name] = service.store(storage, upload, uuid)
    made = {same: service.add(session, kept, actor=actor) for same, kept in stored.items()}
    for target in missing:
        file = made[uploads[target].sha256, uploads[target].name]
        leads[target] = reference(file.uuid, file.name)
    return _led(body, leads)


def files_in(folder: Path, session: Session, storage: Storage | None, body: str) -> Iterator[tuple[Path, bytes]]:
    """The files that a text names, and where an export into a folder puts them.

    Raises:
        StorageUnavailable: one could not be read.
        NotFound: there is no storage, or the file is not in it.
    """
    for file in service.found(session, files_named(body)):
        if storage is None:
            raise NotFound("The app has not set CAIRNLOOP_FILE_STORAGE.")
        yield folder / FOLDER / str(file.uuid) / file.name, storage.read(file.storage_key)


def is_exported(inside: Path) -> bool:
    """Whether a path below a folder is one where an export puts files: a text there is no article."""
    return _OURS.search(f"{inside.as_posix()}/") is not None and FOLDER in inside.parts


def _inside(target: str, folder: Path, root: Path) -> Path | None:
    """The file that a target leads to, if it is one within the root; no hidden one, and none behind a link."""
    words = unquote(re.split(r"[?#]", target)[0])
    if not words or words.startswith(("/", "\\")) or "\x00" in words:
        return None
    try:
        path = Path(root, *_steps(folder.relative_to(root) / words))
        steps = [path, *path.parents][: len(path.relative_to(root).parts)]
        if any(step.is_symlink() or step.name.startswith(".") for step in steps) or not path.is_file():
            return None
    except (ValueError, OSError):  # above the root, or nothing that a disk could hold
        return None
    return path if path.resolve().is_relative_to(root.resolve()) else None


def _steps(path: Path) -> list[str]:
    steps: list[str] = []
    for part in path.parts:
        if part == "..":
            if not steps:
                raise ValueError("above the root")
            steps.pop()
        else:
            steps.append(part)
    return steps


def _led(body: str, leads: Mapping[str, str]) -> str:
    """The text with other targets in its links."""
    if not leads:
        return body

    def lead(match: re.Match[str]) -> str:
        to = leads.get(normalized(match["quoted"] or match["plain"]))
        return match[0] if to is None else match["before"] + to

    return _DESTINATION.sub(lead, body)
