"""Where bytes lie: any filesystem that fsspec knows, or one that the host makes.

A file is written under a name of its own first and then moved to its key, so that nobody ever reads half of one. What
a crash leaves there is older than a day at the next sweep, and goes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any, Final, TypeVar
from uuid import uuid4

import fsspec

from flask_cairnloop.errors import NotFound, StorageUnavailable

if TYPE_CHECKING:
    from flask_cairnloop.extension import Cairnloop

log = logging.getLogger(__name__)
T = TypeVar("T")

PIECE: Final = 64 * 1024  # bytes read at a time
_INCOMING: Final = ".incoming"


class Storage:
    """The host's storage, as far as we use it.

    Args:
        open_: makes the filesystem, and says below which of its paths our files lie; called for each use, as one that
            was made before a fork must not be used after it. fsspec keeps those it has made.
    """

    def __init__(self, open_: Callable[[], tuple[Any, str]]) -> None:
        self._open = open_

    def write(self, key: str, data: bytes) -> None:
        """Keep bytes under a key, whole or not at all. The same again is harmless.

        Raises:
            StorageUnavailable: they could not be kept.
        """
        with self._at_work("write") as (filesystem, root):
            part, path = f"{root}/{_INCOMING}/{uuid4().hex}", f"{root}/{key}"
            for each in (part, path):
                filesystem.makedirs(each.rpartition("/")[0], exist_ok=True)
            try:
                filesystem.pipe_file(part, data)
                filesystem.mv(part, path)
            except Exception:
                with suppress(Exception):  # the sweep takes it
                    filesystem.rm_file(part)
                raise

    def read(self, key: str) -> bytes:
        """All bytes of a key.

        Raises:
            NotFound: there are none.
            StorageUnavailable: they could not be read.
        """
        with self._at_work("read") as (filesystem, root):
            return bytes(filesystem.cat_file(f"{root}/{key}"))

    def stream(self, key: str) -> Iterator[bytes]:
        """The same piece by piece. The first is read at once, so that what goes wrong is known before an answer begins.

        Raises:
            NotFound: there are none.
            StorageUnavailable: they could not be read.
        """
        with self._at_work("read") as (filesystem, root):
            handle = filesystem.open(f"{root}/{key}", "rb")
            try:
                first = handle.read(PIECE)
            except BaseException:
                handle.close()
                raise
        return _pieces(handle, first)

    def delete(self, key: str) -> None:
        """Delete what lies under a key. Nothing there is fine.

        Raises:
            StorageUnavailable: it could not be deleted.
        """
        with suppress(NotFound), self._at_work("delete") as (filesystem, root):
            filesystem.rm_file(f"{root}/{key}")

    def written(self) -> Iterator[tuple[str, datetime]]:
        """Every key there is, also of what never came to be a file, and when it was written.

        Raises:
            StorageUnavailable: they could not be listed.
        """
        with self._at_work("list") as (filesystem, root):
            filesystem.invalidate_cache()
            paths = filesystem.find(root) if filesystem.exists(root) else []
        for path in paths:
            with suppress(NotFound), self._at_work("list") as (filesystem, _):
                yield path[path.index(root) + len(root) + 1 :] if root else path.lstrip("/"), filesystem.modified(path)

    @contextmanager
    def _at_work(self, step: str) -> Iterator[tuple[Any, str]]:
        try:
            yield self._open()
        except FileNotFoundError as fault:
            raise NotFound("The file is not in the storage.") from fault
        except Exception as fault:  # each filesystem has errors of its own
            # Their words may hold an address with its keys.
            log.error("The file storage could not %s: %s", step, type(fault).__name__)
            raise StorageUnavailable(step, type(fault).__name__) from fault


def _pieces(handle: IO[bytes], piece: bytes) -> Iterator[bytes]:
    with handle:
        while piece:
            yield piece
            piece = handle.read(PIECE)


def storage_of(cairnloop: Cairnloop) -> Storage | None:
    """The app's storage; ``None`` where it has none, and takes no files."""
    settings, hooks = cairnloop.settings, cairnloop.hooks
    if hooks.configured("FILE_STORAGE"):
        return Storage(lambda: (hooks.file_storage(), ""))
    if settings.file_storage is None:
        return None
    address = str(settings.file_storage)

    def opened() -> tuple[Any, str]:
        filesystem, root = fsspec.core.url_to_fs(address, **settings.file_storage_options)
        return filesystem, str(root).rstrip("/")

    return Storage(opened)
