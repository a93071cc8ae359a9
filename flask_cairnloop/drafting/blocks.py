"""A passage taken apart into blocks that can be quoted whole: paragraphs, lists in order, tables left out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from markdown_it import MarkdownIt
from markdown_it.token import Token

_markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
_SENTENCE = re.compile(r"(?<=[.!?])[\"”’)]*\s+(?=[\"“‘(]?[A-Z0-9ÄÖÜÉÀ])")


@dataclass(frozen=True, slots=True)
class Block:
    """Something that reads as a whole.

    Args:
        lines: plain text; for a list one entry an item, numbered where order matters.
    """

    kind: Literal["paragraph", "list", "code"]
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def leads_on(self) -> bool:
        """Whether it announces what follows, and makes no sense without it."""
        return self.kind == "paragraph" and self.text.rstrip().endswith(":")


def blocks_of(markdown: str) -> list[Block]:
    """The blocks of a passage, in order. Headings and tables are left out: neither reads as an answer."""
    tokens = _markdown.parse(markdown)
    found: list[Block] = []
    index = 0
    while index < len(tokens):
        token = tokens[index]
        end = _end(tokens, index)
        if token.type in ("ordered_list_open", "bullet_list_open"):
            items = _items(
                tokens[index : end + 1], ordered=token.type == "ordered_list_open", start=token.attrGet("start")
            )
            if items:
                found.append(Block("list", tuple(items)))
        elif token.type in ("fence", "code_block"):
            found.append(Block("code", tuple(token.content.rstrip("\n").split("\n"))))
        elif token.type in ("paragraph_open", "blockquote_open"):
            text = " ".join(_inline(part) for part in tokens[index : end + 1] if part.type == "inline").strip()
            if text:
                found.append(Block("paragraph", (text,)))
        index = end + 1
    return found


def sentences(text: str) -> list[str]:
    """A paragraph's sentences, each whole."""
    return [sentence.strip() for sentence in _SENTENCE.split(text) if sentence.strip()]


def _end(tokens: list[Token], start: int) -> int:
    depth = 0
    for index in range(start, len(tokens)):
        depth += tokens[index].nesting
        if depth == 0:
            return index
    return len(tokens) - 1


def _items(tokens: list[Token], *, ordered: bool, start: str | int | float | None) -> list[str]:
    """Items of the outer list; what is nested in an item is read on after it."""
    number = int(start or 1)
    items: list[str] = []
    parts: list[str] = []
    depth = 0
    for token in tokens:
        if token.type == "list_item_open":
            depth += 1
            if depth == 1:
                parts = []
        elif token.type == "list_item_close":
            if depth == 1 and parts:
                mark = f"{number}." if ordered else "-"
                items.append(f"{mark} {' '.join(parts)}")
                number += 1
            depth -= 1
        elif token.type == "inline":
            parts.append(_inline(token))
        elif token.type in ("fence", "code_block"):
            parts.append(token.content.strip())
    return items


def _inline(token: Token) -> str:
    """An inline token as plain text: emphasis drops its marks, a link to elsewhere keeps its address."""
    parts: list[str] = []
    href = ""
    for child in token.children or ():
        if child.type in ("text", "code_inline"):
            parts.append(child.content)
        elif child.type in ("softbreak", "hardbreak"):
            parts.append(" ")
        elif child.type == "image":
            parts.append(child.content)
        elif child.type == "link_open":
            href = str(child.attrGet("href") or "")
        elif child.type == "link_close":
            if href.startswith(("http://", "https://")) and href not in "".join(parts):
                parts.append(f" ({href})")
            href = ""
    return " ".join("".join(parts).split())
