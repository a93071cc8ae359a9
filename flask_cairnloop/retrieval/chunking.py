"""Cuts an article into passages that can be found, read and quoted alone.

Pure: Markdown in, passages out. Whole blocks are kept together; a list is cut between items, a table between rows, code
between lines, prose between sentences. Every line of the body lands in at least one passage.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, takewhile
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token

TARGET: Final = 1200  # characters a passage aims at; the figures of docs/evaluation.md were measured with it
LIMIT: Final = 1600  # characters of text no passage exceeds, overlap and repeated table heads aside
SMALL: Final = 400  # a passage below this is joined with the next section where both fit
OVERLAP: Final = 200  # characters of the sentences before, repeated when a section is cut

HEADING_LIMIT: Final = 600  # width of the column
JOINT: Final = " › "

_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+")
_LINK = re.compile(r"!?\[([^\]]*)\]\((?:[^()\s]|\([^()]*\))*(?:\s+\"[^\"]*\")?\)")
_MARKS = re.compile(
    r"(?<!\w)[*_~`]{1,3}(?=\S)|(?<=\S)[*_~`]{1,3}(?!\w)|^\s{0,3}(?:>|#{1,6}|[-+*]|\d+[.)])\s+", re.MULTILINE
)
# Names of HTML, not every word between angle brackets: "<username>" is something a person reads.
HTML: Final = re.compile(
    r"<!--.*?-->|</?(?:a|abbr|b|blockquote|br|center|code|col|colgroup|dd|details|div|dl|dt|em|figure|font|h[1-6]|hr|i|iframe"
    r"|img|kbd|li|mark|ol|p|pre|s|small|span|strong|sub|summary|sup|table|tbody|td|tfoot|th|thead|tr|u|ul|video)"
    r"(?:\s[^<>]*)?/?>",
    re.IGNORECASE | re.DOTALL,
)
_STEP = re.compile(r"(?P<indent>\s*)(?P<number>\d{1,9})(?=[.)])")
_HEADING_LINE = re.compile(r"^ {0,3}#{1,6}(?:\s+|$)|\s+#+\s*$")
_PARSER = MarkdownIt("commonmark").enable("table")


@dataclass(frozen=True, slots=True)
class Piece:
    """One passage of an article.

    Args:
        ordinal: 0-based place in the article.
        heading: headings above it, outermost first, joined by ``" › "``; empty before the first heading.
        content: its Markdown, without the heading.
    """

    ordinal: int
    heading: str
    content: str

    def text(self, title: str) -> str:
        """What is embedded: title, headings and content as plain words."""
        return plain_text("\n".join(part for part in (title, self.heading, self.content) if part))


@dataclass(slots=True)
class _Section:
    path: tuple[str, ...]
    level: int
    blocks: list[_Block] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Block:
    text: str
    kind: str  # "prose", or the name of the Markdown token that opened it
    parts: tuple[str, ...] = ()  # where it may be cut, when it is too long to stay whole
    head: str = ""  # repeated before each part: the head of a table, the opening of a fence
    tail: str = ""


def plain_text(markdown: str) -> str:
    """Markdown without link targets, marks and HTML tags: the words a person reads."""
    return _MARKS.sub("", _LINK.sub(r"\1", HTML.sub(" ", markdown))).strip()


def chunk(title: str, body: str) -> list[Piece]:
    """Cut an article into passages.

    Args:
        title: a heading at the start that says the same is not repeated in the heading path.
        body: Markdown; broken Markdown is cut as the text it is.
    """
    body = body.replace("\r\n", "\n").replace("\r", "\n")
    found = [
        _Passage(section.path, content)
        for section in _sections(title, body)
        for content in _pack(section.blocks)
        if content.strip()
    ]
    return [
        Piece(ordinal, JOINT.join(passage.path)[:HEADING_LIMIT], passage.content)
        for ordinal, passage in enumerate(_merge(found))
    ]


@dataclass(frozen=True, slots=True)
class _Passage:
    path: tuple[str, ...]
    content: str

    def with_headings(self, above: tuple[str, ...]) -> str:
        """The content under those of its headings that are not common to all of a passage."""
        own = self.path[len(above) :]
        return f"{'#' * min(len(above) + 2, 6)} {JOINT.join(own)}\n\n{self.content}" if own else self.content


def _merge(passages: list[_Passage]) -> Iterator[_Passage]:
    """A section of a few words is found badly alone: it is joined with what follows, under the headings both share."""
    group: list[_Passage] = []
    merged: _Passage | None = None
    for passage in passages:
        joined = _join([*group, passage])
        if merged is not None and len(merged.content) < SMALL and len(joined.content) <= TARGET:
            group.append(passage)
            merged = joined
            continue
        if merged is not None:
            yield merged
        group, merged = [passage], passage
    if merged is not None:
        yield merged


def _join(group: list[_Passage]) -> _Passage:
    if len(group) == 1:
        return group[0]
    names = zip(*(passage.path for passage in group), strict=False)
    common = tuple(level[0] for level in takewhile(lambda level: len(set(level)) == 1, names))
    shown: list[str] = []
    for before, passage in zip([None, *group], group, strict=False):
        same = before is not None and before.path == passage.path
        shown.append(passage.content if same else passage.with_headings(common))
    return _Passage(common, "\n\n".join(shown))


def _sections(title: str, body: str) -> list[_Section]:
    lines = body.split("\n")
    sections = [_Section((), 0)]
    path: list[tuple[int, str]] = []
    for token, start, end in _top_level(_PARSER.parse(body), len(lines)):
        # A paragraph of several lines over "---" is a heading to Markdown only; its author meant a rule.
        if token is None or token.type != "heading_open" or end - start > 2:
            text = "\n".join(lines[start:end]).strip("\n")
            if text.strip():
                sections[-1].blocks.append(_block(token, text, lines, start))
            continue
        level = int(token.tag[1])
        words = _heading_words(lines[start:end])
        _keep_bare_heading(sections[-1], level)
        path = [(above, name) for above, name in path if above < level]
        if words and not (_same(words, title) and not path):
            path.append((level, words))
        sections.append(_Section(tuple(name for _, name in path), level))
    _keep_bare_heading(sections[-1], 0)
    return sections


def _keep_bare_heading(section: _Section, next_level: int) -> None:
    """A heading with nothing under it, not even a deeper heading, is a passage of its own: it may be the answer."""
    if section.path and not section.blocks and next_level <= section.level:
        section.blocks.append(_Block(section.path[-1], "prose"))


def _heading_words(lines: list[str]) -> str:
    if len(lines) > 1:  # underlined with === or ---
        lines = lines[:-1]
    return plain_text(" ".join(_HEADING_LINE.sub("", line).strip() for line in lines))


def _top_level(tokens: list[Token], count: int) -> Iterator[tuple[Token | None, int, int]]:
    """The blocks of the document by line; lines that no token claims (link definitions) come as blocks too."""
    at = 0
    for token in tokens:
        if token.level != 0 or token.map is None or token.nesting < 0:
            continue
        start, end = token.map
        if start > at:
            yield None, at, start
        yield token, start, end
        at = max(at, end)
    if at < count:
        yield None, at, count


def _block(token: Token | None, text: str, lines: list[str], start: int) -> _Block:
    kind = token.type if token else "prose"
    if kind in ("bullet_list_open", "ordered_list_open"):
        items = tuple(_items(text))
        return _Block(text, kind, items if kind == "bullet_list_open" else tuple(_numbered(items)))
    if kind == "table_open":
        rows = text.split("\n")
        return _Block(text, kind, tuple(rows[2:]), head="\n".join(rows[:2]))
    if kind == "fence" and token is not None:
        rows = text.split("\n")
        closed = len(rows) > 1 and rows[-1].strip().startswith(token.markup)
        inner = rows[1:-1] if closed else rows[1:]
        return _Block(text, kind, tuple(inner), head=rows[0], tail=lines[start].lstrip()[:3])
    if kind in ("paragraph_open", "heading_open", "prose"):
        return _Block(text, "prose")
    return _Block(text, kind, tuple(text.split("\n")))


def _items(text: str) -> Iterator[str]:
    """A list cut before each of its own items; deeper items stay with the one they belong to."""
    lines = text.split("\n")
    starts = sorted(
        {
            token.map[0]
            for token in _PARSER.parse(text)
            if token.type == "list_item_open" and token.level == 1 and token.map
        }
        | {0}
    )
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        yield "\n".join(lines[start:end]).rstrip("\n")


def _numbered(items: Iterable[str]) -> Iterator[str]:
    """Steps with their own numbers, so that a list that is cut goes on counting where it was cut.

    Many authors write ``1.`` before each and let Markdown count.
    """
    first: int | None = None
    for place, item in enumerate(items):
        found = _STEP.match(item)
        if found is None:
            yield item
            continue
        first = int(found["number"]) - place if first is None else first
        number = str(first + place)
        wider = " " * max(len(number) - len(found["number"]), 0)  # what hangs below it still does
        below = item[found.end("number") :].replace("\n ", f"\n{wider} ")
        yield f"{found['indent']}{number}{below}"


def _pack(blocks: list[_Block]) -> Iterator[str]:
    """Fill passages up to the target with whole blocks; what does not fit is cut at its seams."""
    current: list[str] = []
    size = 0
    carried = 0  # how much of the current passage is overlap: alone it is no passage
    last: _Block | None = None
    for block in chain.from_iterable(map(_cut, blocks)):
        if size > carried and size + len(block.text) > TARGET:
            yield "\n\n".join(current)
            overlap = _overlap(last)
            current, size = ([overlap], len(overlap)) if overlap else ([], 0)
            carried = size
        current.append(block.text)
        size += len(block.text)
        last = block
    if size > carried:
        yield "\n\n".join(current)


def _overlap(block: _Block | None) -> str:
    """The last whole sentences of the prose before the cut; lists, tables and code are not repeated in parts."""
    if block is None or block.kind != "prose":
        return ""
    kept: list[str] = []
    for sentence in reversed(_SENTENCE_END.split(block.text)):
        if sum(map(len, kept)) + len(sentence) > OVERLAP:
            break
        kept.insert(0, sentence)
    return " ".join(kept)


def _cut(block: _Block) -> Iterator[_Block]:
    """The block itself, or pieces no longer than the limit."""
    if len(block.text) <= LIMIT:
        yield block
        return
    if block.kind == "prose":
        for text in _fill(_short_prose(block.text)):
            yield _Block(text, "prose")
        return
    room = max(TARGET - len(block.head) - len(block.tail), TARGET // 2)
    for text in _fill((piece for part in block.parts for piece in _short_part(part)), "\n", room):
        yield _Block("\n".join(part for part in (block.head, text, block.tail) if part), block.kind)


def _short_part(part: str) -> Iterator[str]:
    """A list item, row or line; one that is longer than a passage is cut by lines, then as prose."""
    if len(part) <= TARGET:
        yield part
        return
    for line in part.split("\n"):
        yield from [line] if len(line) <= TARGET else _short_prose(line)


def _short_prose(text: str) -> Iterator[str]:
    for line in text.split("\n"):
        if len(line) <= TARGET // 2:
            yield line + "\n"
            continue
        for sentence in _SENTENCE_END.split(line):
            yield from (word + " " for word in _short_words(sentence))


def _short_words(sentence: str) -> Iterator[str]:
    if len(sentence) <= TARGET:
        yield sentence
        return
    yield from _fill(_letters(sentence), " ")


def _letters(sentence: str) -> Iterator[str]:
    for word in sentence.split():
        for start in range(0, len(word), TARGET):
            yield word[start : start + TARGET]


def _fill(parts: Iterable[str], joint: str = "", room: int = TARGET) -> Iterator[str]:
    """Join neighbours while they fit."""
    current = ""
    for part in parts:
        if current and len(current) + len(joint) + len(part) > room:
            yield current.strip("\n")
            current = part
        else:
            current = current + joint + part if current else part
    if current:
        yield current.strip("\n")


def first_heading(body: str) -> str | None:
    """The words of the first heading of a body."""
    lines = body.split("\n")
    for token, start, end in _top_level(_PARSER.parse(body), len(lines)):
        if token is not None and token.type == "heading_open" and (words := _heading_words(lines[start:end])):
            return words
    return None


def without_title(title: str, body: str) -> str:
    """The body without a first-level heading at its start that only repeats the title."""
    body = body.replace("\r\n", "\n").replace("\r", "\n")
    lines = body.split("\n")
    for token, start, end in _top_level(_PARSER.parse(body), len(lines)):
        if token is None and not "".join(lines[start:end]).strip():
            continue
        repeats = token is not None and token.tag == "h1" and _same(_heading_words(lines[start:end]), title)
        return "\n".join(lines[end:]).strip("\n") if repeats else body.strip("\n")
    return body.strip("\n")


def _same(left: str, right: str) -> bool:
    return " ".join(left.split()).casefold() == " ".join(right.split()).casefold()
