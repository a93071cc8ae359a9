"""What of the team's replies can be told to everybody, as Markdown. Pure: it takes away, and adds a capital at most.

A reply is written to one person, in plain text, and nobody has reviewed it. So nothing of it becomes a heading, a link
or code by accident, and what was meant for that person, or holds what the redactor took out, is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from flask_cairnloop.drafting.asking import telling
from flask_cairnloop.drafting.blocks import sentences
from flask_cairnloop.privacy.redactor import TOKEN
from flask_cairnloop.upkeep.writing import TO_WRITE

FEW_WORDS: Final = 4  # of a line that is a name below the words a letter closes with
SIGNED: Final = 3  # such lines
WRAPPED: Final = 55  # characters of a line that goes on in the next where it does not end like a sentence
NAMED_STEP: Final = TO_WRITE.format("a step that named somebody")
TOLD_STEP: Final = TO_WRITE.format("a step that was told to one person")

# What Markdown would take for emphasis, code, a link, a tag or an entity, or for an escape itself.
_MEANS_MORE: Final = re.compile(r"([\[\]<`*]|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w{1,32};)|~(?=~)|\\(?=[!-/:-@\[-`{-~]|$))")
_SPACE: Final = re.compile(r"\s+")
_GREETING: Final = re.compile(
    r"^(?:hi|hello|hey|dear|good (?:morning|afternoon|evening|day)|hallo|guten (?:tag|morgen)|liebe[rs]?"
    r"|sehr geehrte\w*"
    r"|bonjour|hola)(?=[\s,.!:]|$)(?:\s+[^\s,.!?:]+){0,4}\s*(?:[,!.:]+|$)\s*",
    re.IGNORECASE,
)
_CLOSING: Final = re.compile(
    r"^(?:(?:many |kind |best |warm |all |with )*(?:thanks|regards|wishes|the best)|best|cheers|sincerely"
    r"|yours\b.{0,20}"
    r"|thank you|(?:viele|liebe|freundliche|mit freundlichen|beste) gr(?:ü|ue)(?:ß|ss)en?|cordialement|saludos)\W*$",
    re.IGNORECASE,
)
_ORIGINAL: Final = re.compile(r"^-{3,} ?(?:original message|forwarded message|ursprüngliche nachricht)", re.IGNORECASE)
_QUOTES: Final = re.compile(r"^(?:on\b.{5,200}\bwrote|am\b.{5,200}\bschrieb\b.{0,80}):$", re.IGNORECASE)
_SENT_FROM: Final = re.compile(r"^(?:sent from my|gesendet von meinem|envoyé de mon) \w", re.IGNORECASE)
_FENCE: Final = re.compile(r"^\s*(?:```|~~~)")
_ITEM: Final = re.compile(r"^(?P<indent>\s*)(?:(?P<number>\d{1,2})[.)]|[-*•–])\s+(?P<words>\S.*)$")
_VOCATIVE: Final = re.compile(r"^(?:\[name\]|@[\w.-]+)[,:]?\s+|,\s*\[name\](?=\s*[.!]?$)")
_ADVICE: Final = re.compile(
    r"^(?:\w+,? )?(?:I|we)(?: would|['’]d)?(?: \w+ly)? (?:suggest|recommend|advise)(?: that)? you (?:to )?(?=[a-z])"
)
_LABEL: Final = re.compile(r"“[^”]*”|\"[^\"]*\"|‘[^’]*’|(?<!\w)'.+?'(?!\w)|`[^`]*`")
_ADDRESS: Final = re.compile(r"<?(?:https?://|www\.)\S+")
# Who speaks as one person speaks of this one time; "My Orders" in the middle of a sentence is the name of a page.
_ONE_SPEAKS: Final = re.compile(
    r"\b(?:I|I['’](?:m|ve|d|ll))\b(?!/)|(?<![\w-])i(?:['’](?:m|ve|d|ll))? (?=[a-z])|(?<![\w'’-])(?:me|my|mine|myself)\b"
    r"|^(?:My|Mine)\b(?= [a-z])"
)
# What is said to one person at one time, and tells nobody else anything.
_PERSONAL: Final = re.compile(
    r"\bthank(?:s| you)\b|\bsorry\b|\bapolog|\bcheers\b|\bgood luck\b|\b(?:take care|welcome)\W*$|^no (?:worries"
    r"|problem)\W*$"
    r"|\b(?:glad|happy|pleased|good|great) to (?:help|hear|be of)\b|\bglad (?:that|you|it|we)\b|\bhope (?:this|that"
    r"|it|you)\b"
    r"|\byou(?:['’]re| are) (?:very |most |more than )?welcome\b|\bhave a (?:nice|great|good|lovely|wonderful)\b"
    r"|\b(?:let|get back to|come back to|tell|send|keep|ask|contact|reach out to|remind) (?:me|us)\b"
    r"|\bget back to you\b"
    r"|\b(?:write|report|post|reply|respond) back\b|\breply (?:here|to this)\b|\blook(?:ing)? forward\b"
    r"|\bkeep you (?:posted|updated)\b"
    r"|\b(?:any|more|further|other|additional) questions\b|\b(?:don['’]t|do not) hesitate\b"
    r"|\bfeel free to (?:contact|reply|ask|write|reach|get|let|call|post|open)\b"
    r"|\bas (?:you|[A-Z]\w+) (?:wrote|said|mentioned|described|noted|posted)\b|\bin your (?:case|situation)\b"
    r"|^(?!(?:if|when|once|after|before|unless|whenever)\b)[^,]{0,60}\byou(?:['’]ve| have)? (?:said|say|mention"
    r"|mentioned|wrote"
    r"|posted|describe|described|asked|reported|told|showed|shared)\b"
    r"|\byour (?:message|e-?mail (?:of|from|below)|question|report|ticket|case|patience"
    r"|(?:\w+ ){0,4}(?:screen ?shots?|pictures?|images?)|post|reply|description|request|thread|situation|query"
    r"|inquiry|feedback)\b"
    r"|\byour (?:account|order|refund|payment|parcel|package|subscription|booking|invoice) (?:was|were|has|have"
    r"|is now)\b"
    r"|\bwe(?:['’](?:ve|ll look)| (?:have|had|will (?:look|get|check|let|keep|investigate|come|contact|send)"
    r"|are (?:looking"
    r"|checking|investigating|working)|can see|see|saw|looked|checked|sent|refunded|changed|moved|reset|fixed|created"
    r"|deleted|noticed|found|just))\b"
    r"|\bthat (?:worked|did (?:it|the trick))\b|\b(?:today|yesterday|tomorrow|this (?:morning|afternoon|evening)"
    r"|just now)\b"
    r"|^(?:solved|fixed|done|resolved|great|perfect|ok(?:ay)?|yes|no)\W*$|^just my (?:two|2)\b",
    re.IGNORECASE,
)


@dataclass
class _Block:
    """Lines that belong together.

    Args:
        lines: of a list its items without their marks, what hangs below an item on lines of its own in it.
        first: the number that a numbered list begins with; 0 for bullets.
    """

    kind: Literal["paragraph", "list", "code"]
    lines: list[str] = field(default_factory=list)
    first: int = 0


def plain_statements(words: str) -> list[str]:
    """Replies as pieces of Markdown, each of which makes sense alone: a paragraph, or steps with what announces them.

    A sentence that asks, thanks, tells what somebody has done for this customer, or holds what the redactor took out is
    left out. A step that does the latter is left for a person to write, so that none is missed.
    """
    found: list[str] = []
    announced = ""
    last = mine = 0  # numbers of the newest step: as it was written, and as it is told
    for block in _blocks(_own(words)):
        if block.kind == "code":
            told = "" if TOKEN.search("\n".join(block.lines)) else _code(block.lines)
        elif block.kind == "list":
            goes_on = bool(block.first) and block.first == last + 1
            start = mine + 1 if goes_on else 1
            items = _items(block, start)
            if block.first:
                last, mine = block.first + len(block.lines) - 1, start + len(items) - 1
            told = "\n".join(items)
        else:
            kept = [said for line in block.lines for sentence in sentences(line) if (said := for_everybody(sentence))]
            if kept and kept[-1].endswith(":"):
                found += [text] if (text := _paragraph(kept[:-1])) else []
                announced = safe(kept[-1])
                continue
            told = safe(" ".join(kept)) if announced else _paragraph(kept)
        if told:
            found.append(f"{announced}\n\n{told}" if announced else told)
            announced = ""
    return found


def for_everybody(sentence: str) -> str:
    """A sentence as everybody can be told it; empty where it was meant for one person."""
    said = _SPACE.sub(" ", _VOCATIVE.sub("", without_greeting(sentence.strip()))).strip()
    advised = _ADVICE.sub("", said)
    plain = _LABEL.sub("", advised)
    if not plain.strip(" .!:") and not advised.strip():
        return ""
    if advised.endswith("?") or TOKEN.search(advised) or _PERSONAL.search(plain) or _ONE_SPEAKS.search(plain):
        return ""
    return _begun(advised) if advised != sentence.strip() else advised


def without_greeting(line: str) -> str:
    """A line without the greeting that it begins with."""
    return _GREETING.sub("", line)


def safe(text: str) -> str:
    """Words of people as Markdown that says the same: nothing of it becomes a heading, a quote, a link or an image."""
    line = _SPACE.sub(" ", text).strip()
    line = _MEANS_MORE.sub(r"\\\1", line)
    return re.sub(r"^([#>+=~|-]|\d+(?=[.)](?:\s|$)))", _held, line)


def _held(match: re.Match[str]) -> str:
    """The beginning of a line that would begin a heading, a quote or a list. A number needs it behind itself."""
    return f"{match[1]}\\" if match[1].isdigit() else f"\\{match[1]}"


def _begun(said: str) -> str:
    """With a capital, where its beginning was taken off and the next is a plain word."""
    return said[:1].upper() + said[1:] if re.match(r"[^\W\d_A-Z]{2,}(?:[\s,]|$)", said) else said


def _paragraph(kept: Sequence[str]) -> str:
    text = " ".join(kept)
    return safe(text) if telling(_ADDRESS.sub(" ", text)) else ""


def _code(lines: Sequence[str]) -> str:
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall(r"`+", "\n".join(lines)) or [""]))
    return "\n".join([fence, *lines, fence]) if any(line.strip() for line in lines) else ""


def _items(block: _Block, start: int) -> list[str]:
    found: list[str] = []
    for item in block.lines:
        mark = f"{start + len(found)}." if block.first else "-"
        first, *below = item.split("\n")
        whole, *more = sentences(first) or [first]
        said = for_everybody(whole)
        if not said and block.first:
            found += [f"{mark} {left}"] if (left := _left_open(whole)) else []
        if not said:
            continue
        told = " ".join([said, *(text for each in more if (text := for_everybody(each)))])
        nested = [f"{' ' * (len(mark) + 1)}- {safe(text)}" for each in below if (text := for_everybody(each))]
        found.append("\n".join([f"{mark} {safe(told)}", *nested]))
    return found


def _left_open(step: str) -> str:
    """What stands for a step that is left out; empty where it is none, but a question or a courtesy."""
    if TOKEN.search(step):
        return NAMED_STEP
    return "" if step.endswith("?") or _PERSONAL.search(step) else TOLD_STEP


# --- lines ------------------------------------------------------------------------------------------------------------


def _own(words: str) -> list[str]:
    """The lines that are the team's own: without greetings, what they signed with, and mail that was quoted below."""
    lines = words.replace("\r\n", "\n").replace("\r", "\n").replace("\u00a0", " ").split("\n")
    kept: list[str] = []
    signed = 0
    coded = False
    for place, line in enumerate(lines):
        text = line.strip()
        coded ^= bool(_FENCE.match(line))
        if coded or _FENCE.match(line):
            kept.append(line)
            continue
        if _ORIGINAL.match(text):
            break  # from here on it is what was answered, and nobody can tell where that ends
        if signed and text and _is_name(text):
            signed -= 1
            continue
        if text:
            signed = 0
        if text == "--" or (_CLOSING.match(text) and not text.endswith(("!", "."))):
            signed = SIGNED
            continue
        if text.startswith(">") or any(each.match(text) for each in (_QUOTES, _SENT_FROM, _CLOSING)):
            continue
        begins = not place or not lines[place - 1].strip()
        kept.append(without_greeting(text) if begins and not _ITEM.match(line) else line)
    return kept


def _is_name(text: str) -> bool:
    words = text.split()
    return (
        len(words) <= FEW_WORDS
        and text[-1] not in ".!?:"
        and all(word[:1].isupper() or not word[:1].isalpha() for word in words)
    )


def _blocks(lines: Sequence[str]) -> Iterator[_Block]:
    """Paragraphs, lists and code. What hangs below an item belongs to it; steps with empty lines between are one."""
    block: _Block | None = None
    coded = empty = False
    column = 0  # of the items of the list
    for line in lines:
        if coded or _FENCE.match(line):
            if not coded and block:
                yield block
            closes = coded and bool(_FENCE.match(line))
            if closes and block:
                yield block
                block = None
            elif coded and block:
                block.lines.append(line)
            else:
                block = _Block("code")
            coded = not closes
            continue
        text = line.strip()
        if not text:
            empty = True
            continue
        item = _ITEM.match(line)
        indent = len(line) - len(line.lstrip())
        if block and block.kind == "list" and block.lines:
            if item and indent > column and not empty:
                block.lines[-1] += f"\n{item['words']}"
                continue
            if item and bool(item["number"]) == bool(block.first) and _follows(block, item):
                block.lines.append(item["words"])
                empty = False
                continue
            hangs = indent > column or (not empty and text[:1].islower() and block.lines[-1][-1] not in ".!?:…)")
            if not item and hangs:
                block.lines[-1] += f" {text}" if "\n" not in block.lines[-1] else f"\n{text}"
                empty = False
                continue
        if item:
            if block:
                yield block
            block, column = _Block("list", [item["words"]], int(item["number"] or 0)), indent
        elif block and block.kind == "paragraph" and not empty:
            before = block.lines[-1]
            wrapped = text[:1].islower() or len(before) >= WRAPPED
            if before[-1] in ".!?:…" or not wrapped:
                block.lines.append(text)
            else:
                block.lines[-1] += f" {text}"
        else:
            if block:
                yield block
            block = _Block("paragraph", [text])
        empty = False
    if block:
        yield block


def _follows(block: _Block, item: re.Match[str]) -> bool:
    return not block.first or int(item["number"]) in (block.first + len(block.lines), 1)
