"""What of a passage may be said to a customer, in units that each make sense alone.

A unit is a paragraph, or a list together with what announces it. Left out is what speaks about the article instead of
the matter, sends the reader elsewhere, points at a place on a page the customer does not see, or has no whole sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from flask_cairnloop.drafting.blocks import Block, blocks_of, sentences
from flask_cairnloop.retrieval.chunking import JOINT
from flask_cairnloop.retrieval.types import Passage

MAX_WORDS: Final = 150  # of quoted prose; an answer that is longer is not read
MAX_STEPS_WORDS: Final = 320  # of a numbered list, which is never cut
HEADING_WORDS: Final = 5
INTRODUCES: Final = 45  # words up to which the paragraph before a list counts as its introduction

_PAGE: Final = r"(?:article|page|guide|document|tutorial|topic|chapter|faq|wiki|how-?to)"
_ABOUT_ITSELF: Final = re.compile(
    rf"\b(?:in )?(?:this|the (?:rest of this|present|above|current)) (?:\w+ )?{_PAGE}s?\b"
    rf"|^\W*(?:in )?the following (?:\w+ )?{_PAGE}s?\b",
    re.IGNORECASE,
)
_POINTER: Final = re.compile(
    r"^\W*(?:\w+: )?(?:please )?(?:see|also see|see also|read more|learn more|more (?:information|details|info|help)"
    r"|skip (?:to|ahead)|jump to"
    r"|refer to|consult|continue (?:to|with)|go (?:back )?to the \w+ section|(?:please )?read (?:the |section |our "
    r"|this ))\b"
    r"|^\W*(?:for|to (?:find|get|see)) (?:(?:more|further|additional|detailed|complete|full|general|other|specific"
    r"|step-by-step) )+"
    r"(?:information|info|details|instructions|help|explanations?|tips|options|settings)\b"
    r"|^\W*for (?:details|instructions|information|help|explanations?|an? (?:overview|explanation|description))\b"
    r"|^\W*to learn (?:more|how|about)\b|\b(?:you can |you may |you will |may be |can be )(?:also )?(?:find|found"
    r"|read) (?:more |further |an? |the )?(?:\w+ )?(?:in|information|details|article)\b"
    r"|(?:[,;(:]|\band|\bplease) ?(?:please )?(?:see|refer to|consult|check out) (?:also )?(?:the |our "
    r"|also )?(?:(?-i:[“\"A-Z])|article|section)",
    re.IGNORECASE,
)
_PLACE: Final = re.compile(
    r"\b(?:shown|described|detailed|listed|explained|mentioned|noted|pictured|outlined|given|see|image|picture"
    r"|screenshot"
    r"|section|table|figure|diagram|example)"
    r"s?\b[^.!?]{0,40}\b(?:below|above)\b|\b(?:below|above) (?:image|picture|screenshot|figure|table|section|example)"
    r"|\b(?:image|picture|screenshot|figure) (?:on the (?:left|right)|shows|at (?:left|right))\b"
    r"|\bsections? (?:below|above)\b",
    re.IGNORECASE,
)
_ASK_ELSEWHERE: Final = re.compile(
    r"\b(?:support (?:request|ticket|forum|question|channel|team)|ask (?:for (?:help|support)|a (?:new )?question"
    r"|in the (?:\w+ )?forum)"
    r"|(?:file|report|submit|open|create|post) (?:a|an|the|your) (?:\w+ )?(?:bug|ticket|issue|request|feedback"
    r"|question|problem)"
    r"|contact (?:us|our|the) ?(?:support|team|help)?\b)",
    re.IGNORECASE,
)
_HEADED_AWAY: Final = re.compile(
    r"^\W*(?:see also|related(?: (?:articles?|topics?|links?|content|pages?))?|further reading|(?:table of )?contents"
    r"|on this page"
    r"|in this (?:article|section|guide)|learn more|more information|(?:external )?links|references|what'?s next"
    r"|next steps?|navigation"
    r"|(?:how to |where to )?(?:ask for|get|getting) (?:more )?(?:help|support)|contact (?:us|support)|feedback"
    r"|credits|contributors|changelog)\W*$",
    re.IGNORECASE,
)
# It speaks of something said just before, and says nothing without it.
_LEANS: Final = re.compile(
    r"^[^.!?]{0,60}\b(?:this|these) (?:behaviou?r|problem|issue|error|message|warning|setting|option|feature"
    r"|limit)s?\b|"
    r"^\W*(?:note|n\.?b|tip|hint|warning|important|caution|update)s?\b.{0,12}:|^\W*(?:this|that|these|those|it|its|they"
    r"|them|their|he|she|such|other(?:s| \w+)|another|both|either|neither|also|and|but|or|so|then|thus|"
    r"however|otherwise|instead|therefore|hence|alternatively|additionally|furthermore|moreover|in addition"
    r"|in (?:this|that|these|such) \w+|"
    r"if (?:so|not|this|that|it|they|none|you still|these)\b|after (?:this|that|doing|saving)\b|once (?:this|that"
    r"|done|these)\b|now\b|next\b|finally\b|"
    r"again\b|likewise|similarly|for (?:example|instance)|the (?:former|latter|same|first|second|third|last|next"
    r"|other|above|following)|as (?:a result|mentioned|noted|before|above))\b",
    re.IGNORECASE,
)
# What somebody can do, as support texts put it: an order, alone or after a condition, or an offer.
_VERBS: Final = (
    "add|adjust|allow|apply|arrange|ask|assign|attach|avoid|back up|book|bring|browse|build|call|cancel|change"
    "|charge|check|choose|clean|clear|click|close|collapse|confirm|connect|contact|copy|create|deactivate|delete"
    "|deselect|detach|disable|disconnect|double-click|download|drag|drop|edit|eject|empty|enable|ensure|enter"
    "|expand|export|fill|find|follow|forward|go|highlight|hold|import|increase|insert|install|invite|keep|launch"
    "|leave|let|lift|locate|lock|log|loosen|lower|make|mark|mix|mount|move|navigate|open|order|out|pair|paste|pay"
    "|pick|place|plug|point|pour|press|print|pull|push|put|quit|raise|reboot|refresh|reinstall|reload|remove"
    "|rename|renew|repair|repeat|replace|reply|request|reset|restart|restore|return|review|right-click|rinse"
    "|rotate|run|save|scan|scroll|search|select|send|set|share|shut|sign|slide|start|stop|subscribe|swipe|switch"
    "|take|tap|test|tick|tighten|toggle|try|turn|type|uncheck|undo|uninstall|unlock|unplug|unscrew|unsubscribe"
    "|untick|update|upgrade|upload|use|verify|visit|wait|wash|wipe|write"
)
_INSTRUCTS: Final = re.compile(
    rf"(?:^|\n|[.!?:;,] |[(])[^\w\n]{{0,6}}(?:\d+[.)] )?(?:please |then |and |now |first,? |next,? |just |simply |also "
    rf"|instead,? |(?:and )?then |try to )?(?:{_VERBS})\b"
    r"|\byou (?:can|could|may|might|should|must|need to|have to|will need to|just)\b",
    re.IGNORECASE,
)
_NEWS: Final = re.compile(
    r"\b(?:what['’]?s new|new (?:in|features)|release notes|change ?log|older releases|version history|changes (?:in"
    r"|to) (?:version|release))\b",
    re.IGNORECASE,
)
_OPTION: Final = re.compile(r"^- [^.:\n]{2,60}: ")
_TELLS: Final = re.compile(r"[.!?…:)\]”\"’]\W*$|[。！？]")


@dataclass(frozen=True, slots=True)
class Unit:
    """A part of a passage that can be said alone.

    Args:
        place: of its first block in the passage.
        heading: the headings above it, those of the passage included, outermost first.
        blocks: a lead-in and what it announces stay together.
        leans: whether it speaks of something said before it.
    """

    passage: Passage
    place: int
    heading: str
    blocks: tuple[Block, ...]
    leans: bool = False

    @property
    def text(self) -> str:
        return "\n".join(block.text for block in self.blocks)

    @property
    def words(self) -> int:
        return len(self.text.split())

    @property
    def steps(self) -> bool:
        """Whether it tells what to do in order."""
        items = [line for block in self.blocks if block.numbered for line in block.lines]
        return sum(map(instructs, items)) * 2 > len(items)

    @property
    def instructs(self) -> bool:
        """Whether it says what somebody can do, and not only how things are."""
        return instructs(self.text)

    @property
    def news(self) -> bool:
        """Whether it tells what a release brought, which mostly answers nobody."""
        return bool(_NEWS.search(f"{self.passage.title}\n{self.heading}"))

    @property
    def topic(self) -> str:
        """The nearest heading; the article's title where there is none."""
        return self.heading.split(JOINT)[-1] if self.heading else self.passage.title


def instructs(text: str) -> bool:
    """Whether a text says what somebody can do."""
    return bool(_INSTRUCTS.search(text))


def describes_options(block: Block) -> bool:
    """Whether a list says of one setting after the other what it is for; mostly one of them is asked about."""
    return block.kind == "list" and sum(bool(_OPTION.match(line)) for line in block.lines) * 2 > len(block.lines)


def units_of(passage: Passage) -> list[Unit]:
    """The units of a passage in the order in which they stand in it."""
    blocks = [block for block in (_said(block) for block in blocks_of(passage.content)) if block]
    found: list[Unit] = []
    place = 0
    for whole in _carried_on(list(_grouped(blocks))):
        at, place = place, place + len(whole)
        group = _without_announcement(whole)
        if not group or not _is_whole(group):
            continue
        heading = JOINT.join(filter(None, (passage.heading, group[0].heading)))
        if _HEADED_AWAY.match(heading.split(JOINT)[-1]):
            continue
        # Its introduction may stand in another passage.
        cut = at == 0 and group[0].kind == "list" and not group[0].numbered and not group[0].heading
        found.append(Unit(passage, at, heading, tuple(group), cut or _leans(group[0])))
    return found


def _grouped(blocks: Sequence[Block]) -> Iterable[list[Block]]:
    """Blocks that say one thing: what announces something and what is announced, what leans and what it leans on."""
    group: list[Block] = []
    for block in blocks:
        if group and not _belongs(group, block):
            yield group
            group = []
        group.append(block)
    if group:
        yield group


def _carried_on(groups: list[list[Block]]) -> list[list[Block]]:
    """Steps that a note interrupts are one list: what begins with 4 goes on where 3 was the last."""
    whole: list[list[Block]] = []
    for group in groups:
        whole.append(group)
        first = next((_number(block.lines[0]) for block in group if block.numbered), 1)
        for back in range(2, min(len(whole), 4) + 1):
            before = [block for block in whole[-back] if block.numbered]
            if first > 1 and before and _number(before[-1].lines[-1]) == first - 1:
                whole[-back:] = [[block for part in whole[-back:] for block in part]]
                break
    return whole


def _number(item: str) -> int:
    return int(item.split(".", 1)[0])


def _belongs(group: Sequence[Block], block: Block) -> bool:
    last = group[-1]
    if last.leads_on:
        return True
    if last.heading != block.heading or last.kind != "paragraph":
        return False
    words = sum(len(part.text.split()) for part in group)
    if block.kind != "paragraph":
        return block.numbered or words <= INTRODUCES
    leads_to_steps = block.leads_on and words <= INTRODUCES
    return leads_to_steps or (bool(_LEANS.match(block.text)) and words + len(block.text.split()) <= MAX_WORDS)


def _without_announcement(group: list[Block]) -> list[Block]:
    """Without a last sentence that announces what stands in another passage, where more is said than that."""
    while group and group[-1].leads_on:
        *before, last = group
        said = sentences(last.text)[:-1]
        group = [*before, replace(last, lines=(" ".join(said),))] if said else before
    return group


def _leans(block: Block) -> bool:
    said = re.sub(r"^(?:-|\d+\.) ", "", block.text) if block.kind == "list" else block.text
    return bool(_LEANS.match(said))


def _is_whole(group: Sequence[Block]) -> bool:
    """Whether it is something to say: whole sentences or steps, from the first to the last."""
    if group[-1].leads_on or group[-1].text.rstrip().endswith(":"):
        return False
    if any(block.kind == "paragraph" and not _TELLS.search(block.text) for block in group):
        return False
    numbered = [block for block in group if block.numbered]
    if numbered and _number(numbered[0].lines[0]) != 1:
        return False  # its first steps stand in another passage
    if all(block.kind == "code" for block in group):
        return False
    return sum(len(block.text.split()) for block in numbered) <= MAX_STEPS_WORDS


def _said(block: Block) -> Block | None:
    """A block without the sentences that do not belong into an answer; ``None`` when nothing is left of it."""
    if block.kind == "code":
        return block
    if block.kind == "paragraph":
        kept = [sentence for sentence in sentences(block.text) if _belongs_into_an_answer(sentence)]
        return replace(block, lines=(_shortened(kept),)) if kept else None
    lines = [
        _step(line)
        for place, line in enumerate(block.lines)
        if block.numbered or (place not in block.bare and _worth_an_item(line))
    ]
    while len(lines) > 1 and block.numbered and _asks_elsewhere(lines[-1]):
        lines.pop()  # we are who they would ask
    if lines:
        lines[-1] = _ended(lines[-1])
    return replace(block, lines=tuple(filter(None, lines))) if any(lines) else None


def _ended(item: str) -> str:
    """The last item of a list without an announcement at its end: what that announces stands in another passage."""
    kept = item.split("\n")
    while kept and kept[-1].rstrip().endswith(":"):
        kept.pop()
    return "\n".join(kept)


def _asks_elsewhere(item: str) -> bool:
    return bool(_ASK_ELSEWHERE.search(item.split("\n")[0]))


def _belongs_into_an_answer(sentence: str) -> bool:
    if sentence.endswith("?") and len(sentence.split()) <= HEADING_WORDS:
        return False  # it is meant as a heading
    if _ABOUT_ITSELF.search(sentence) or _PLACE.search(sentence) or _ASK_ELSEWHERE.search(sentence):
        return False
    return not _POINTER.search(sentence) or "http" in sentence


def _worth_an_item(item: str) -> bool:
    said = item.split("\n")[0][2:].strip()
    return any(_belongs_into_an_answer(sentence) for sentence in sentences(said))


def _step(item: str) -> str:
    """An item of a list without sentences after its first that lead away."""
    first, *below = item.split("\n")
    mark, said = first.split(" ", 1)
    whole, *more = sentences(said) or [said]
    kept = [whole, *(sentence for sentence in more if _belongs_into_an_answer(sentence))]
    return "\n".join([f"{mark} {' '.join(kept)}", *below])


def _shortened(kept: Sequence[str]) -> str:
    """A paragraph that alone would fill the answer keeps its first whole sentences."""
    taken: list[str] = []
    for sentence in kept:
        if taken and len(" ".join([*taken, sentence]).split()) > MAX_WORDS:
            break
        taken.append(sentence)
    return " ".join(taken)
