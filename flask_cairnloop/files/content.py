"""What bytes are, whatever they are called, and what of them is kept. Pure.

A picture is what Pillow can decode as one, nothing that merely begins like one; a text is UTF-8 without control
characters that does not begin as markup. Everything else, HTML and SVG among it, is nothing that we take.
"""

from __future__ import annotations

import io
import re
import struct
import unicodedata
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from PIL import Image

from flask_cairnloop.errors import InvalidInput
from flask_cairnloop.files.links import IMAGES
from flask_cairnloop.files.models import FILE_NAME_LENGTH

PIXEL_LIMIT: Final = 30_000_000  # of an image: decoded it takes four bytes each
SIDE_LIMIT: Final = 20_000  # pixels
NAME_BYTES: Final = 180  # in UTF-8, as disks have room for 255

_SUFFIXES: Final[dict[str, tuple[str, ...]]] = {
    "image/png": (".png",),
    "image/jpeg": (".jpg", ".jpeg"),
    "image/gif": (".gif",),
    "image/webp": (".webp",),
    "application/pdf": (".pdf",),
    "application/zip": (".zip",),
    "text/plain": (".txt", ".csv", ".tsv", ".log", ".ini", ".conf", ".json", ".yaml", ".yml", ".toml"),
}
KNOWN: Final = tuple(_SUFFIXES)  # what a content can be told to be
DEFAULT: Final = ("image/png", "image/jpeg", "image/gif", "image/webp", "application/pdf", "text/plain")
SPOKEN: Final = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/gif": "GIF",
    "image/webp": "WebP",
    "application/pdf": "PDF",
    "application/zip": "ZIP",
    "text/plain": "plain text",
}
_FORMATS: Final = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",
    "GIF": "image/gif",
    "WEBP": "image/webp",
}
_BEGINNINGS: Final = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"RIFF")
# What no text holds: control characters other than tab, line ends and form feed.
_CONTROLS: Final = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f]")
PARTS_LIMIT: Final = 50_000  # chunks or segments of a picture
# A marker with up to a few bytes of filling before it, and where the next one stands behind compressed pixels.
_JPEG_MARKER: Final = re.compile(rb"\xff{1,16}([^\x00\xff])", re.DOTALL)
_JPEG_NEXT: Final = re.compile(rb"\xff(?![\x00\xd0-\xd7])")
# An Exif segment with one entry, the orientation, up to its value.
_TURNED: Final = b"\xff\xe1\x00\x22Exif\x00\x00MM\x00\x2a\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00"
_ORIENTATION: Final = 0x0112
_SIDEWAYS: Final = (5, 6, 7, 8)


@dataclass(frozen=True, slots=True)
class Content:
    """What bytes were found to be.

    Args:
        data: to be kept: of a picture without what it tells of its maker, see :func:`recognise`.
        width, height: in pixels as it is shown, of an image.
    """

    data: bytes
    media_type: str
    width: int | None = None
    height: int | None = None

    @property
    def is_image(self) -> bool:
        """Whether it is a picture."""
        return self.media_type in IMAGES


def recognise(data: bytes) -> Content:
    """Find out what bytes are.

    A picture loses where and with what it was taken, and whatever stands behind its end; its pixels stay as they are.
    Doing it again changes nothing.

    Raises:
        InvalidInput: they are nothing that we know, a damaged picture, or one of too many pixels.
    """
    if not data:
        raise InvalidInput("file", "The file is empty.")
    if data.startswith(_BEGINNINGS):
        return _picture(data)
    if data.startswith(b"%PDF-"):
        return Content(data, "application/pdf")
    if data.startswith(b"PK\x03\x04"):
        return Content(data, "application/zip")
    if _is_text(data):
        return Content(data, "text/plain")
    raise InvalidInput("file", "This is no kind of file that can be kept here, whatever it is called.")


def clean_name(name: str, media_type: str) -> str:
    """A name that is safe to show, to link to and to save under: one line, no folder, an ending that fits the content.

    Args:
        name: as somebody's computer calls it.
    """
    name = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1]
    # Controls, characters that turn the direction of what follows, halves of others: they only deceive in a name.
    kept = "".join(" " if letter.isspace() else letter for letter in name if letter.isspace() or _shows(letter))
    kept = " ".join(kept.split()).strip(". ")
    suffixes = _SUFFIXES[media_type]
    ending = next((suffix for suffix in suffixes if kept.lower().endswith(suffix)), "")
    stem = kept[: -len(ending)].rstrip(". ") if ending else kept
    ending = kept[-len(ending) :] if ending else suffixes[0]
    stem = stem[: FILE_NAME_LENGTH - len(ending)] or "file"
    while len(stem.encode()) > NAME_BYTES:
        stem = stem[:-1]
    return stem.rstrip(". ") + ending


def accepted(media_types: Iterable[str]) -> str:
    """What a form's field for files offers to choose, as HTML has it."""
    return ",".join(word for media_type in media_types for word in (media_type, *_SUFFIXES[media_type]))


def _shows(letter: str) -> bool:
    return unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Co", "Cn")


def _is_text(data: bytes) -> bool:
    """Whether it is plain text. What begins as markup does is not: something might take it for a page."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return False
    return not _CONTROLS.search(text) and not text.lstrip().startswith("<")


# --- pictures ---------------------------------------------------------------------------------------------------------


def _picture(data: bytes) -> Content:
    try:
        # First what is quick: what remains is small in its parts, and holds nothing that a decoder would unpack twice.
        kept, orientation = _stripped(data)
        with Image.open(io.BytesIO(kept), formats=("PNG", "JPEG", "GIF", "WEBP")) as opened:
            media_type, width, height = _FORMATS[opened.format or ""], *opened.size
            _check_size(width, height)  # before a pixel of it is decoded
            opened.draft("RGB", (1, 1))  # of a JPEG, an eighth of it does
            opened.load()
    except InvalidInput:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as fault:
        raise _too_many() from fault
    except Exception as fault:  # a decoder given somebody's bytes raises whatever it likes
        raise InvalidInput("file", "The picture is damaged, or not what it seems to be.") from fault
    if orientation in _SIDEWAYS:
        width, height = height, width
    return Content(kept, media_type, width, height)


def _stripped(data: bytes) -> tuple[bytes, int]:
    """A picture without what is not needed to show it, and how it is to be turned: 1 is as it is."""
    if data.startswith(b"\x89PNG"):
        return _plain_png(data), 1
    if data.startswith(b"\xff\xd8"):
        return _plain_jpeg(data)
    return (_plain_webp(data) if data.startswith(b"RIFF") else data), 1


def _check_size(width: int, height: int) -> None:
    if width * height > PIXEL_LIMIT or max(width, height) > SIDE_LIMIT:
        raise _too_many()


def _too_many() -> InvalidInput:
    return InvalidInput(
        "file", f"The picture has more than {PIXEL_LIMIT // 1_000_000} million pixels. Make it smaller."
    )


# What is needed to show a PNG as it is meant; everything else in it, words and places among it, goes.
_PNG_KEPT: Final = frozenset(
    {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"sBIT", b"bKGD"}
    | {b"pHYs", b"acTL", b"fcTL", b"fdAT"}
)


def _plain_png(data: bytes) -> bytes:
    kept, at = [data[:8]], 8
    for _ in range(PARTS_LIMIT):
        (length,) = struct.unpack_from(">I", data, at)
        kind, end = data[at + 4 : at + 8], at + 12 + length
        if end > len(data) or struct.unpack_from(">I", data, end - 4)[0] != zlib.crc32(data[at + 4 : end - 4]):
            raise ValueError("a chunk is cut off or damaged")
        if kind in _PNG_KEPT:
            kept.append(data[at:end])
        if kind == b"IEND":
            return b"".join(kept)
        at = end
    raise ValueError("too many chunks")


def _plain_jpeg(data: bytes) -> tuple[bytes, int]:
    parts = list(islice(_jpeg_parts(data), PARTS_LIMIT))
    if parts[-1][0] != 0xD9:
        raise ValueError("too many parts")
    exif = Image.Exif()
    exif.load(next((part[4:] for marker, part in parts if marker == 0xE1 and part[4:10] == b"Exif\x00\x00"), b""))
    orientation = int(exif.get(_ORIENTATION, 1))
    kept = [data[:2]]
    if orientation in range(2, 9):  # how it is to be turned stays
        kept.append(_TURNED + bytes([orientation]) + bytes(6))
    kept += (part for marker, part in parts if _stays(marker, part))
    return b"".join(kept), orientation


def _stays(marker: int, part: bytes) -> bool:
    """Whether a part of a JPEG is needed to show it: no comment, and of the applications' own only those of colour."""
    if marker == 0xE2:
        return part[4:16] == b"ICC_PROFILE\x00"
    return marker not in (0xFE, 0xE1, *range(0xE3, 0xEE), 0xEF)


def _jpeg_parts(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The parts of a JPEG after its beginning, to its end and no further."""
    at = 2
    while True:
        found = _JPEG_MARKER.match(data, at)
        if found is None:
            raise ValueError("no marker where one must stand")
        marker, start, at = found[1][0], at, found.end()
        if marker not in (0xD9, 0x01, *range(0xD0, 0xD9)):
            at += int(struct.unpack_from(">H", data, at)[0])
        if marker == 0xDA:
            after = _JPEG_NEXT.search(data, at)
            at = after.start() if after else len(data) + 1
        if at > len(data):
            raise ValueError("a part is cut off")
        yield marker, data[start:at]
        if marker == 0xD9:
            return


def _plain_webp(data: bytes) -> bytes:
    size = struct.unpack_from("<I", data, 4)[0] + 8
    kept, at = bytearray(), 12
    while at + 8 <= min(size, len(data)):
        kind, length = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        end = at + 8 + length + length % 2
        part = bytearray(data[at:end])
        if kind == b"VP8X":
            part[8] &= ~0b1100 & 0xFF  # it no longer announces what goes
        if kind not in (b"EXIF", b"XMP "):
            kept += part
        at = end
    return b"RIFF" + struct.pack("<I", len(kept) + 4) + b"WEBP" + bytes(kept)
