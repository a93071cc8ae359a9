"""The one redactor, for every store that keeps words of people longer than it keeps the people.

A pure function over text. What it takes for personal or secret is replaced by a token in brackets, such as ``[email]``;
what people search by stays: error codes, versions, ports, prices, dates, menu paths, short order numbers.

Each kind has a rule, and the rules run one after the other over what lies between the tokens, until nothing changes any
more. So a second run finds nothing to do. Every pattern is bounded or starts where a run of its characters starts, so
the time grows with the length of the text and with nothing else.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from phonenumbers import Leniency, PhoneNumberMatcher
from stdnum import iban, luhn
from stdnum.us import ssn

# What a kind is replaced by: `[email]` and so on. `value` stands in addresses of pages, for what follows a `?`.
KINDS = ("email", "phone", "card", "iban", "id", "ip", "mac", "key", "value", "address", "name")
GIVEN_UP = "[redacted]"
TOKEN = re.compile(rf"(\[(?:{'|'.join(KINDS)}|redacted)\])")
ROUNDS = 10  # two do for what people write; a text made to need more is not worth keeping
MOST_NAMES = 60
NAME_LENGTH = 200

# A rule yields what it takes for its kind: where it starts, where it ends, and the kind.
Span = tuple[int, int, str]
Rule = Callable[[str], Iterator[Span]]


@dataclass(frozen=True, slots=True)
class Redaction:
    """A text without what was taken for personal or secret.

    Args:
        text: what is left, with a token in each gap.
        counts: how many gaps of each kind.
    """

    text: str
    counts: Mapping[str, int]


def redact(text: str, *, names: Iterable[str] = ()) -> str:
    """A text in which personal and secret parts are replaced by tokens such as ``[email]``.

    Redacting twice is redacting once. It never raises, whatever the text.

    Args:
        names: what is known to name the person: see :func:`names_of`.
    """
    return redaction(text, names=names).text


def redaction(text: str, *, names: Iterable[str] = ()) -> Redaction:
    """The same as :func:`redact`, with how many parts of each kind were replaced."""
    rules = (*RULES, *_naming(names))
    counts: Counter[str] = Counter()
    for _ in range(ROUNDS):
        before = text
        for rule in rules:
            text = "".join(
                piece if number % 2 else _without(piece, rule, counts) for number, piece in enumerate(TOKEN.split(text))
            )
        if text == before:
            return Redaction(text, dict(counts))
    return Redaction(GIVEN_UP, {"redacted": 1})


def names_of(
    *, ref: str | None = None, name: str | None = None, email: str | None = None, organization: str | None = None
) -> tuple[str, ...]:
    """What names a customer, for :func:`redact`: what the host says of them, and what stands before the ``@``."""
    local = (email or "").partition("@")[0]
    # A short number is not a name: it would take years and ports out of their texts.
    known = "" if ref is None or (ref.isdigit() and len(ref) < 5) else ref
    return tuple(value for value in (name, organization, local, known) if value and value.strip())


def _without(piece: str, rule: Rule, counts: Counter[str]) -> str:
    parts: list[str] = []
    end = 0
    for start, stop, kind in rule(piece):
        if start < end or start >= stop:
            continue
        parts += (piece[end:start], f"[{kind}]")
        counts[kind] += 1
        end = stop
    return "".join((*parts, piece[end:])) if parts else piece


def _all(pattern: re.Pattern[str], kind: str, text: str) -> Iterator[Span]:
    """Everything that fits, or of it the group called ``value``, where the pattern has one."""
    group: int | str = "value" if "value" in pattern.groupindex else 0
    for found in pattern.finditer(text):
        yield *found.span(group), kind


def _digits(text: str) -> str:
    """The digits of a text, those of any script, as 0 to 9."""
    return "".join(str(unicodedata.decimal(sign)) for sign in text if sign.isdecimal())


# --- addresses of pages -----------------------------------------------------------------------------------------------

URL = re.compile(r"(?<![^\W_])(?:[a-z][a-z0-9+.-]{0,30}://|www\.)[^\s<>\"]+", re.IGNORECASE)
QUERY = re.compile(r"[^?&;#=]+(?:=(?P<value>[^&;#]*))?")


def _urls(text: str) -> Iterator[Span]:
    """User names and passwords, and every value of the query: scheme, host, path and names of values stay."""
    for found in URL.finditer(text):
        start, url = found.start(), found[0]
        begin = url.find("://") + 3 if "://" in url else 0
        rest = re.search(r"[/?#]", url[begin:])
        end = begin + rest.start() if rest else len(url)
        at = url.rfind("@", begin, end)
        if at > begin:
            yield start + begin, start + at, "key"
        mark = re.search(r"[?]|#(?=[^#]*=)", url[max(at, begin) :])
        if mark is None:
            continue
        tail = max(at, begin) + mark.end()
        for part in QUERY.finditer(url, tail):
            value = part.span("value") if "=" in part[0] else part.span()
            if value[0] < value[1]:
                yield start + value[0], start + value[1], "value"


# --- secrets ----------------------------------------------------------------------------------------------------------

PEM = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----"
    r".*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----|\Z)",
    re.DOTALL,
)
# Keys that say by their first letters what they are. They start where a run of such characters starts.
KNOWN_KEYS = re.compile(
    r"(?<![A-Za-z0-9_-])(?:"
    r"(?:sk|pk|rk)[-_][A-Za-z0-9_-]{10,}"
    r"|gh[opusr]_[A-Za-z0-9]{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}"
    r"|(?:AKIA|ASIA|AGPA|AIDA|AROA)[A-Z0-9]{12,}"
    r"|xox[a-z]-[A-Za-z0-9-]{8,}|xapp-[A-Za-z0-9-]{8,}"
    r"|AIza[\w-]{30,}|ya29\.[\w-]{16,}"
    r"|(?:npm|hf|shpat|shpss|whsec|dop_v1|lin_api|nfp|rpa)_[A-Za-z0-9]{16,}|pypi-[\w-]{16,}"
    r"|SG\.[\w-]{16,}\.[\w-]{16,}"
    r"|eyJ[\w-]{6,}\.[\w-]{4,}(?:\.[\w-]*)?"
    r")"
)
CALLED_SO = (
    r"pass(?:word|wort|phrase|code|wd)?|pwd|kennwort|mot de passe|contraseña|"
    r"(?:client|app|shared|webhook)?[ _-]?secret(?:[ _-]?key)?|"
    r"(?:access|auth|refresh|bearer|api|session|id)?[ _-]?token|"
    r"(?:api|access|secret|private|auth|licen[cs]e|product|activation|recovery)[ _-]?(?:key|code)|"
    r"authorization|credentials?|pin|otp|2fa[ _-]?code|session[ _-]?id|sessionid|cookie"
)
ASSIGNED = re.compile(
    rf"(?<![^\W\d_])(?:{CALLED_SO})[\"']?\s{{0,3}}(?:[:=]|=>)\s{{0,3}}(?:(?:bearer|basic|token)\s{{1,3}})?"
    r"(?P<value>\"[^\"\n]{1,300}\"|'[^'\n]{1,300}'|(?!(?:bearer|basic|token)\s)[^\s,;&\"'\[\]]{1,300})",
    re.IGNORECASE,
)
# In a sentence only what looks like none of its words: "my password is wrong" is what people ask about.
TOLD = re.compile(
    rf"(?<![^\W\d_])(?:{CALLED_SO})\s{{1,3}}(?:is|was|ist|war|est|es)\s{{1,3}}"
    r"(?P<value>(?=[^\s,;\[\]]{0,100}[\d!@#$%^&*_+=])[^\s,;\[\]]{4,100})",
    re.IGNORECASE,
)
# In braces it names a program's part, an add-on or a Windows component, and people search by it.
UUID = re.compile(r"(?<![\w{-])[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}(?![\w-])", re.IGNORECASE)
LICENCE = re.compile(r"(?<![\w-])(?=[A-Z-]{0,60}\d)(?=[\d-]{0,60}[A-Z])(?:[A-Z0-9]{5}-){3,7}[A-Z0-9]{5}(?![\w-])")
RUN = re.compile(r"[A-Za-z0-9_+/=-]{20,}")
PART = re.compile(r"[A-Za-z0-9_-]{20,}")  # of a path
HEX = re.compile(r"[0-9a-fA-F]+")


def _long_secrets(text: str) -> Iterator[Span]:
    """Long strings that look drawn by lot. Words run together, however long, change their kind of sign less often."""
    for run in RUN.finditer(text):
        if ("+" in run[0] or "=" in run[0]) and _drawn_by_lot(run[0]):  # base64, of which a slash is a part
            yield *run.span(), "key"
            continue
        for part in PART.finditer(text, *run.span()):
            in_braces = text[part.start() - 1 : part.start()] == "{" and UUID.fullmatch(part[0])
            if not in_braces and _drawn_by_lot(part[0]):
                yield *part.span(), "key"


def _drawn_by_lot(run: str) -> bool:
    signs = [sign for sign in run[:200] if sign.isalnum()]
    kinds = ["d" if sign.isdigit() else "U" if sign.isupper() else "l" for sign in signs]
    if len(signs) < 20 or "d" not in kinds or len(set(kinds)) < 2:
        return False
    if HEX.fullmatch(run) and len(run) >= 32:
        return True
    changes = sum(one != other for one, other in pairwise(kinds))
    return len(set(signs)) >= 10 and changes / len(signs) >= (0.35 if len(set(kinds)) == 3 else 0.3)


# --- numbers that name a person ---------------------------------------------------------------------------------------

GROUPED = re.compile(r"(?<!\w)\d(?:[ \u00a0.-]?\d){12,}(?!\w)")
MOST_GROUPS = 10
SCHEMES = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|(?:5[1-5]|2[2-7])\d{14}|3[47]\d{13}|3(?:0[0-5]|6|8|9)\d{11,16}"
    r"|35\d{14,17}|(?:6011|62|64|65|60|81|82)\d{11,17}|(?:50|5[6-8]|6[0-9])\d{11,17}"
)


def _cards(text: str) -> Iterator[Span]:
    """Numbers of payment cards: right by their check digit, and by the scheme they start with or four times four."""
    for found in GROUPED.finditer(text):
        groups = [(part.start(), part.end(), _digits(part[0])) for part in re.finditer(r"\d+", found[0])]
        after = 0
        for first, (start, _, _) in enumerate(groups):
            last = _end_of_card([digits for _, _, digits in groups[first : first + MOST_GROUPS]])
            if last and first >= after:
                yield found.start() + start, found.start() + groups[first + last - 1][1], "card"
                after = first + last


def _end_of_card(groups: list[str]) -> int:
    """How many of these groups of digits, from the first on, are the number of a card; 0 when none are."""
    number = ""
    for count, digits in enumerate(groups, 1):
        number += digits
        if len(number) > 19:
            break
        if len(number) >= 13 and _is_card(number, count):
            return count
    return 0


def _is_card(digits: str, groups: int) -> bool:
    by_scheme = SCHEMES.fullmatch(digits) is not None or (len(digits) == 16 and groups == 4)
    return by_scheme and len(set(digits)) > 1 and bool(luhn.is_valid(digits))


IBAN = re.compile(r"(?<![^\W_])[A-Z]{2}\d{2}(?:[ \u00a0-]?[A-Z0-9]){11,30}", re.IGNORECASE | re.ASCII)


def _ibans(text: str) -> Iterator[Span]:
    """Account numbers with a country and a right check number; words that follow one are not part of it."""
    position = 0
    while found := IBAN.search(text, position):
        position = found.start() + 4
        number, remainder = "", 0
        for at in range(found.start(), found.end()):
            if not text[at].isalnum():
                continue
            number += text[at].upper()
            if len(number) > 4:  # the check number is reckoned along: country and check digits go to the end
                value = int(text[at], 36)
                remainder = (remainder * (100 if value > 9 else 10) + value) % 97
            ends = at + 1 == len(text) or not text[at + 1].isalnum()
            if len(number) >= 15 and ends and _closes(remainder, number) and iban.is_valid(number):
                yield found.start(), at + 1, "iban"
                position = at + 1
                break


def _closes(remainder: int, number: str) -> bool:
    for sign in number[:4]:
        value = int(sign, 36)
        remainder = (remainder * (100 if value > 9 else 10) + value) % 97
    return remainder == 1


SSN = re.compile(r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])", re.ASCII)


def _social_security(text: str) -> Iterator[Span]:
    for found in SSN.finditer(text):
        if ssn.is_valid(found[0]):
            yield *found.span(), "id"


# Numbers without a country, by how people write them: with a word before them, with an area code in parentheses, in
# the American three groups, or with a nought in front.
CALLED = re.compile(
    r"(?<![^\W_])(?:phone|tel(?:efon|ephone|éfono|\.)?|call(?: me)?(?: (?:at|on|under))?|mobile?|mobil|cell|handy|fax|"
    r"whatsapp|sms|reach me (?:at|on)|ring(?: me)? (?:at|on)|text me (?:at|on)|anrufen|portable)"
    r"(?: (?:number|no\.?|nr\.?|is)){0,2}[ .:#]{1,3}(?P<value>\+?\(?\d(?:[ ()/.-]{0,2}\d){6,14}(?!\d))",
    re.IGNORECASE,
)
AMERICAN = re.compile(r"(?<![\w.-])(?:1[ .-])?(?:\([2-9]\d{2}\)[ ]?|[2-9]\d{2}[.-])\d{3}[ .-]\d{4}(?![\w-])(?!\.\d)")
NOUGHT = re.compile(r"(?<![\w.,/:+-])\(?0\d{1,4}\)?[ /-](?:\d[ /-]?){5,11}\d(?![\w-]|[.,:]\d)")
DATE = re.compile(r"\d{1,2}([/-])\d{1,2}\1(?:\d{4}|\d{2})(?!\d|\1\d)|\d{1,2} \d{1,2} (?:19|20)\d{2}(?!\d)")


def _phones(text: str) -> Iterator[Span]:
    if len(re.findall(r"\d", text)) < 7:  # the matcher is the slowest of all rules
        return
    # Without a country of ours to assume, only what starts with a plus is taken, and only where its country has it.
    for found in PhoneNumberMatcher(text, None, leniency=Leniency.VALID):
        yield found.start, found.end, "phone"


def _spoken_phones(text: str) -> Iterator[Span]:
    for found in CALLED.finditer(text):
        if not DATE.match(found["value"]):
            yield *found.span("value"), "phone"


def _national_phones(text: str) -> Iterator[Span]:
    for found in NOUGHT.finditer(text):
        if 9 <= len(_digits(found[0])) <= 14 and not DATE.match(found[0]):
            yield *found.span(), "phone"


# --- places in the network --------------------------------------------------------------------------------------------

EMAIL = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
SPELLED_EMAIL = re.compile(
    r"(?<![\w.+-])[\w.+-]{1,64} ?[(\[{] ?at ?[)\]}] ?[\w-]{1,63}(?: ?(?:\.|[(\[{] ?dot ?[)\]}]) ?[\w-]{1,63}){1,5}",
    re.IGNORECASE,
)
V4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)", re.ASCII)
V6 = re.compile(r"(?<![\w:.])[0-9A-F:]{2,40}(?:\.\d{1,3}){0,3}(?![\w:])", re.IGNORECASE | re.ASCII)
MAC = re.compile(r"(?<![\w:-])[0-9A-F]{2}(?:[:-][0-9A-F]{2}){5}(?![\w:-])", re.IGNORECASE | re.ASCII)
VERSION_BEFORE = re.compile(
    r"(?:version|ver\.?|v\.?|build|release|firmware|driver|update|rev\.?)[ :=]{0,2}\Z", re.IGNORECASE
)


def _ips(text: str) -> Iterator[Span]:
    for found in V4.finditer(text):
        before = text[max(0, found.start() - 12) : found.start()]
        if all(int(part) < 256 for part in found[0].split(".")) and not VERSION_BEFORE.search(before):
            yield *found.span(), "ip"


def _long_ips(text: str) -> Iterator[Span]:
    for found in V6.finditer(text):
        words = found[0] if found[0].endswith("::") else found[0].rstrip(":")
        if words.count(":") < 2 or not any(sign.isdigit() for sign in words):  # a::b is a name in a program
            continue
        try:
            ipaddress.IPv6Address(words)
        except ValueError:
            continue
        yield found.start(), found.start() + len(words), "ip"


# --- where somebody lives ---------------------------------------------------------------------------------------------

WORD = r"[A-ZÀ-Þ][\w'’.-]{0,40}"
ADDRESSES = (
    # 221b Baker Street; 12 Maple Drive, Springfield. What is also a word of computers needs a comma or a line's end.
    re.compile(
        rf"(?<![\w.,/-])(?<!> )\d{{1,5}}[A-Za-z]?,? (?:{WORD} ){{1,4}}"
        r"(?:(?:Street|St|Road|Rd|Avenue|Ave|Lane|Ln|Boulevard|Blvd|Crescent|Terrace|Highway|Hwy|Parkway|Pkwy|Mews)\b\.?"
        r"|(?<!Google )(?<!Hard )(?<!USB )(?<!Flash )(?<!Disk )(?<!Network )"
        r"(?:Drive|Dr|Court|Ct|Place|Pl|Square|Sq|Way|Close|Gardens|Grove|Hill)\b\.?(?=,|\n|\Z))"
    ),
    re.compile(
        rf"(?<![\w-])(?:{WORD}[ -]){{0,2}}[A-ZÄÖÜ]?[a-zäöüß]{{0,40}}(?:stra(?:ß|ss)e|[Ss]tr\.|gasse|allee)"
        r" \d{1,4} ?[a-z]?(?!\w)"
    ),
    re.compile(
        r"(?<![\w.,/-])\d{1,4}(?: ?(?:bis|ter))?,? (?:rue|avenue|boulevard|bd|chemin|impasse|allée|quai|cours) "
        rf"(?:de la |de l['’]|du |des |de |d['’])?{WORD}(?: {WORD}){{0,3}}"
    ),
    re.compile(
        r"(?<!\w)(?:Calle|Avenida|Avda\.?|Paseo|Viale|Piazza|Corso|Rua|Via(?=[^\d\n,]{3,60},)) "
        rf"(?:(?:de|del|la|las|los|di|da|do|dos|dei) ){{0,2}}{WORD}(?: {WORD}){{0,3}},? (?:n\.?º? ?)?\d{{1,4}}(?!\w)"
    ),
    re.compile(r"(?<!\w)P\.? ?O\.? ?Box \d{1,6}(?!\w)", re.IGNORECASE),
    re.compile(r"(?<![\w-])[A-Z]{1,2}\d[A-Z\d]? \d[ABD-HJLNP-UW-Z]{2}(?![\w-])"),  # SW1A 1AA
    re.compile(r"(?<!\w)[A-Z][A-Za-z.' -]{1,30}, [A-Z]{2} \d{5}(?:-\d{4})?(?![\w-])"),  # Springfield, IL 62704
)

# In this order: an address of a page may hold an e-mail address, and an account number a card's.
RULES: tuple[Rule, ...] = (
    _urls,
    *(partial(_all, pattern, "key") for pattern in (PEM, KNOWN_KEYS, ASSIGNED, TOLD, UUID, LICENCE)),
    *(partial(_all, pattern, "email") for pattern in (EMAIL, SPELLED_EMAIL)),
    partial(_all, MAC, "mac"),
    _ips,
    _long_ips,
    _ibans,
    _cards,
    _social_security,
    _phones,
    _spoken_phones,
    partial(_all, AMERICAN, "phone"),
    _national_phones,
    _long_secrets,
    *(partial(_all, pattern, "address") for pattern in ADDRESSES),
)


# --- names ------------------------------------------------------------------------------------------------------------

# Parts of names that are everybody's words.
COMMON = frozenset(
    re.findall(
        r"\w+",
        "the and for von van der den dos das del les los las und mit company group limited ltd inc llc llp plc gmbh"
        " corp mail info admin support user customer contact hello office sales team test www com org net",
    )
)
# Scripts that put no space between words.
UNSPACED = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]")


# Letters that do not come apart into one with an accent, and what Germans write without their own.
PLAIN = str.maketrans(
    {"ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ı": "i", "ß": "ss", "æ": "ae", "œ": "oe"}
)
SPELLED = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss", "ø": "oe", "å": "aa"}
)


def _naming(names: Iterable[str]) -> tuple[Rule, ...]:
    """The rule for what names the person: every name as a whole, and each of its parts of three letters or more."""
    found: set[str] = set()
    for name in [*names][:MOST_NAMES]:
        whole = unicodedata.normalize("NFC", name[:NAME_LENGTH]).strip()
        for part in filter(_tells, (whole, *re.split(r"[\W\d_]+", whole))):
            found |= _forms(part)
    patterns = [_pattern(part) for part in sorted(found, key=lambda part: (-len(part), part))]
    return (partial(_all, re.compile("|".join(patterns), re.IGNORECASE), "name"),) if patterns else ()


def _tells(part: str) -> bool:
    """Whether a part says who it is: an initial and everybody's words do not."""
    least = 2 if UNSPACED.search(part) else 3
    return sum(sign.isalnum() for sign in part) >= least and part.casefold() not in COMMON


def _pattern(part: str) -> str:
    """A part as a pattern: a whole word, where its script has words. Another space than its own fits as well."""
    words = r"\s{1,3}".join(re.escape(word) for word in part.split())
    return words if UNSPACED.search(part) else rf"(?<![^\W_]){words}(?![^\W_])"


def _forms(part: str) -> set[str]:
    """A part as it may be typed: with its accents composed, apart, left out, or written with plain letters."""
    apart = unicodedata.normalize("NFD", part)
    bare = "".join(sign for sign in apart.translate(PLAIN) if not unicodedata.combining(sign))
    return {part, apart, bare, part.translate(SPELLED)}
