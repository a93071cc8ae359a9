"""A passage taken apart into blocks that can be quoted whole: paragraphs, lists in order, tables left out.

Articles come from many editors. What is left of templates, pictures and markup that nobody closed is taken out here, so
that a customer reads only words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from markdown_it import MarkdownIt
from markdown_it.token import Token

from flask_cairnloop.retrieval.chunking import HTML, JOINT

_markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
_SENTENCE = re.compile(r"(?<=[.!?])[\"”’)]*\s+(?=[\"“‘(]?[A-Z0-9ÄÖÜÉÀ])")
_ABBREVIATED: Final = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|vs|approx|no|z\.B|d\.h|bzw|ca)|(?:^|\s)[A-Z])\.$", re.IGNORECASE
)
_SHORT_HEADING: Final = 12  # words of a line in bold that stands alone, which is meant as a heading

# Lines that hold no words for a reader: the mark of a template, or what a picture left behind.
_LEFTOVER: Final = re.compile(
    r"^[ \t]*(?:[\w-]+:[\w-]*_[\w-]*|\{[{%/]?[^{}\n]*\}+|[/\\,;.>|]+(?:[ \t]+[/\\,;.>|]+)*)[ \t]*$"
)
_TEMPLATE: Final = re.compile(r"(?:(?:^|\s)[A-Z]+:\w*_\w*)+[ \t]*$")
_ITEM: Final = re.compile(r"^(?P<indent> *)(?P<mark>[-*+]|\d{1,3}[.)])(?P<gap> +)\S")
_FENCE: Final = re.compile(r"^ {0,3}(?:```|~~~)")


@dataclass(frozen=True, slots=True)
class Block:
    """Something that reads as a whole.

    Args:
        lines: plain text; for a list one entry an item, numbered where order matters. What is nested in an item stands
            below it, indented, in the same entry.
        heading: the headings above it within the passage, outermost first.
        bare: for a list which of its items are nothing but a link to another page of the articles.
    """

    kind: Literal["paragraph", "list", "code"]
    lines: tuple[str, ...]
    heading: str = ""
    bare: tuple[int, ...] = ()

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def leads_on(self) -> bool:
        """Whether it announces what follows, and makes no sense without it."""
        return self.kind == "paragraph" and announces(self.text)

    @property
    def numbered(self) -> bool:
        """Whether it is a list whose order matters."""
        return self.kind == "list" and self.lines[0][:1].isdigit()

    @property
    def holds_steps(self) -> bool:
        """Whether an item of the list has steps of its own."""
        return self.kind == "list" and any(re.match(r" +\d+\. ", line) for line in self.text.split("\n"))


_ANNOUNCES: Final = re.compile(
    r"\b(?:these|the (?:following|next)) (?:\w+ )?(?:steps?|instructions?|procedures?|options|methods"
    r"|ways)\b[^.!?]{0,60}\.$"
    r"|\bthere (?:are|is) (?:several|many|two|three|four|some|a few|different|various|multiple|a number of"
    r"|also) (?:\w+ )?"
    r"(?:ways|methods|options|steps|possibilities|reasons|causes)\b[^.!?]*\.$",
    re.IGNORECASE,
)


def announces(text: str) -> bool:
    """Whether a text ends by announcing something."""
    ended = text.rstrip()
    return ended.endswith(":") or bool(_ANNOUNCES.search(sentences(ended)[-1] if ended else ""))


def blocks_of(markdown: str) -> list[Block]:
    """The blocks of a passage, in order. Headings name what is below them; tables do not read as an answer."""
    tokens = _markdown.parse(_mended(markdown))
    found: list[Block] = []
    path: list[tuple[int, str]] = []
    index = 0
    while index < len(tokens):
        end = _end(tokens, index)
        part = tokens[index : end + 1]
        level = _heading_level(part)
        if level:
            words = " ".join(_inline(inner) for inner in part if inner.type == "inline").strip(" :*")
            path = [*((above, name) for above, name in path if above < level), *([(level, words)] if words else [])]
        else:
            found += _blocks(part, JOINT.join(name for _, name in path))
        index = end + 1
    return found


def _blocks(part: list[Token], heading: str) -> Iterator[Block]:
    token = part[0]
    if token.type in ("ordered_list_open", "bullet_list_open"):
        items = _items(part)
        if items:
            bare = [place for place, item in enumerate(_of_each_item(part)) if _is_link(item)]
            yield Block("list", tuple(items), heading, tuple(bare))
    elif token.type == "code_block" and any(_ITEM.match(line.strip()) for line in token.content.split("\n")):
        # Items of a list whose beginning stands in another passage are indented; nobody meant them to be code.
        inner = "\n".join(line.strip() for line in token.content.split("\n"))
        yield from (Block(block.kind, block.lines, heading, block.bare) for block in blocks_of(inner))
    elif token.type in ("fence", "code_block"):
        yield Block("code", tuple(token.content.rstrip("\n").split("\n")), heading)
    elif token.type in ("paragraph_open", "blockquote_open"):
        text = " ".join(_inline(inner) for inner in part if inner.type == "inline").strip()
        if _has_words(text):
            yield Block("paragraph", (text,), heading)


def sentences(text: str) -> list[str]:
    """A paragraph's sentences, each whole."""
    found: list[str] = []
    start = 0
    for match in _SENTENCE.finditer(text):
        said = text[start : match.start()]
        if _ABBREVIATED.search(said):
            continue
        found.append(text[start : match.end()].strip())
        start = match.end()
    return [sentence for sentence in (*found, text[start:].strip()) if sentence]


# --- what editors leave behind ----------------------------------------------------------------------


def _mended(markdown: str) -> str:
    """Markdown as its author meant it: nothing of templates, and what hangs below a step belongs to the step.

    To Markdown a line below ``1. A step`` belongs to it only when it is indented by three; many authors indent by two,
    and then every step would begin a list of its own, counted from one.
    """
    lines: list[str] = []
    fenced = False
    step: int | None = None  # column of the text of the numbered item we are below
    shift = 0
    for written in markdown.split("\n"):
        fenced ^= bool(_FENCE.match(written))
        if not fenced and _LEFTOVER.match(written):
            continue
        line = written if fenced else _TEMPLATE.sub("", HTML.sub(" ", written))
        item = None if fenced else _ITEM.match(line)
        indent = len(line) - len(line.lstrip(" "))
        if item and item["mark"][0].isdigit() and (step is None or indent < step - shift or not indent):
            step, shift = item.end("gap"), 0
        elif step is not None and line.strip() and not indent:
            step = None  # at the margin, and no step: the list has ended
        elif item and step is not None and lines and not shift and indent < step:
            shift = step - indent  # the first that hangs below a step tells by how much all are short
        if not fenced and not item and not indent and lines and _goes_no_further(lines[-1], line):
            lines.append("")
        lines.append(" " * shift + line if step is not None and indent and line.strip() else line)
    return "\n".join(lines)


def _goes_no_further(before: str, line: str) -> bool:
    """Whether a line right below an item of a list begins a paragraph, though Markdown would add it to the item."""
    hangs = _ITEM.match(before) or before.startswith(" ")
    return bool(hangs) and before.rstrip().endswith((".", ":", "!", "?", ")", "*")) and line[:1].isupper()


def _heading_level(part: list[Token]) -> int:
    """Of a heading, or of a short line in bold that stands alone and is meant as one; 0 for anything else."""
    if part[0].type == "heading_open":
        return int(part[0].tag[1])
    if part[0].type != "paragraph_open" or len(part) != 3:
        return 0
    children = [child for child in part[1].children or () if child.type != "text" or child.content.strip()]
    bold = len(children) > 2 and children[0].type == "strong_open" and children[-1].type == "strong_close"
    if not bold or any(child.type in ("strong_open", "strong_close") for child in children[1:-1]):
        return 0
    words = _inline(part[1])
    return 7 if len(words.split()) <= _SHORT_HEADING and words[-1:] not in (".", "!", ":") else 0


def _has_words(text: str) -> bool:
    return re.search(r"[^\W_]", text) is not None


_STRAY: Final = (
    (
        re.compile(r"\*{2,}|(?<!\S)\*(?=[^\W\d_])|(?<=[^\W_])\*(?!\S)"),
        "",
    ),  # emphasis nobody closed, or around a picture
    (re.compile(r"\(\s*[,;]?\s*\)|\[\s*\]|“\s*”|\"\s*\""), ""),  # what stood inside was a picture
    (re.compile(r"\s+([,.;:!?])(?=\s|$)"), r"\1"),
    (re.compile(r"(?:[ \t]+[/\\|]+)+[ \t]*$|^[/\\|]+[ \t]+"), ""),
)


def _tidy(text: str) -> str:
    text = " ".join(text.split())
    for pattern, instead in _STRAY:
        text = pattern.sub(instead, text)
    if "{" not in text:
        text = text.replace("}", "")
    return " ".join(text.split())


# --- tokens ---------------------------------------------------------------------------------------------


def _end(tokens: list[Token], start: int) -> int:
    depth = 0
    for index in range(start, len(tokens)):
        depth += tokens[index].nesting
        if depth == 0:
            return index
    return len(tokens) - 1


def _items(tokens: list[Token], indent: str = "") -> list[str]:
    """Items of a list; what is nested in an item stands below it."""
    ordered = tokens[0].type == "ordered_list_open"
    number = int(tokens[0].attrGet("start") or 1) if ordered else 0
    items: list[str] = []
    for item in _of_each_item(tokens):
        mark = f"{number}." if ordered else "-"
        said = _item(item, indent + " " * (len(mark) + 1))
        if said:
            items.append(f"{indent}{mark} {said}")
            number += 1
    return items


def _of_each_item(tokens: list[Token]) -> Iterator[list[Token]]:
    """The tokens within each item of the outer list."""
    index = 1
    while index < len(tokens) - 1:
        end = _end(tokens, index)
        yield tokens[index + 1 : end]
        index = end + 1


def _item(tokens: list[Token], indent: str) -> str:
    """An item's words on one line, and its own lists below, indented."""
    said: list[str] = []
    below: list[str] = []
    index = 0
    while index < len(tokens):
        token = tokens[index]
        end = _end(tokens, index)
        if token.type in ("ordered_list_open", "bullet_list_open"):
            below += _items(tokens[index : end + 1], indent)
        elif token.type in ("fence", "code_block"):
            below += [f"{indent}{line}" for line in token.content.strip("\n").split("\n")]
        else:
            words = " ".join(_inline(inner) for inner in tokens[index : end + 1] if inner.type == "inline").strip()
            if _has_words(words) and below:
                below.append(f"{indent}{words}")
            elif _has_words(words):
                said.append(words)
        index = end + 1
    if not said:
        return "\n".join([line[len(indent) :] for line in below[:1]] + below[1:])
    return "\n".join([" ".join(said), *below])


def _is_link(item: list[Token]) -> bool:
    """Whether an item is nothing but a link to another page of the articles, or to a place on this one."""
    inline = [token for token in item if token.type == "inline"]
    children = [
        child for token in inline for child in token.children or () if child.content.strip(" .") or child.nesting
    ]
    if len(inline) != 1 or not children or children[0].type != "link_open":
        return False
    closed = next(place for place, child in enumerate(children) if child.type == "link_close")
    rest = "".join(child.content for child in children[closed + 1 :]).strip(" .")
    if rest and not (rest.startswith("(") and rest.endswith(")")):
        return False
    href = str(children[0].attrGet("href") or "")
    return not href.startswith(("http://", "https://", "mailto:"))


def _inline(token: Token) -> str:
    """An inline token as plain text: emphasis drops its marks, a link to elsewhere keeps its address.

    A picture's description is no part of a sentence, except where it is a word or two in the middle of one: then the
    picture stands for a button.
    """
    parts: list[str] = []
    href = ""
    opened = 0
    for child in token.children or ():
        if child.type in ("text", "code_inline"):
            parts.append(child.content)
        elif child.type in ("softbreak", "hardbreak"):
            parts.append(" ")
        elif child.type == "image" and _stands_for_a_button(child.content, parts):
            parts.append(child.content)
        elif child.type == "link_open":
            href = str(child.attrGet("href") or "")
            opened = len(parts)
        elif child.type == "link_close":
            words = "".join(parts[opened:])
            if href.startswith(("http://", "https://")) and href.rstrip("/") not in "".join(parts) and words.strip():
                parts.append(f" ({href})")
            href = ""
    return _tidy("".join(parts))


def _stands_for_a_button(words: str, before: list[str]) -> bool:
    short = 0 < len(words.split()) <= 2 and re.fullmatch(r"[^\W_][\w +&’'-]*", words) is not None
    return (
        short and _has_words("".join(before)) and not re.search(r"\d|image|img|screenshot|icon", words, re.IGNORECASE)
    )
