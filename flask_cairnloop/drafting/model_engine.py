"""A draft, or a suggested article, by somebody's language model, held to the sources it was given.

What the vendors have in common: whether a model is asked at all, the budget, patience, and what an answer is worth. How
a vendor is asked stands in :mod:`flask_cairnloop.drafting.anthropic` and :mod:`flask_cairnloop.drafting.openai`.

A vendor's failure never raises: the built-in engine writes the draft, and the reason is kept beside it.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final, TypeVar

from flask_cairnloop.config import LONGEST_HOOK
from flask_cairnloop.context import current
from flask_cairnloop.drafting import article_letter, ledger, model_letter, support
from flask_cairnloop.drafting.article_letter import Sent
from flask_cairnloop.drafting.ledger import MICROS, Amount, Price, Usage, check_amount
from flask_cairnloop.drafting.model_letter import Letter
from flask_cairnloop.drafting.models import CallOutcome
from flask_cairnloop.drafting.support import Flaw, Nearness
from flask_cairnloop.drafting.types import Declined, DraftKind, Grounding, Proposal
from flask_cairnloop.errors import ConfigurationError
from flask_cairnloop.retrieval import vectors
from flask_cairnloop.retrieval.embedding import EmbeddingFailed, embed
from flask_cairnloop.retrieval.types import Strength
from flask_cairnloop.telemetry import MODEL, span
from flask_cairnloop.upkeep.writing import Brief, Unusable, Written, text_of

log = logging.getLogger(__name__)
T = TypeVar("T")
Judge = Callable[[str], tuple[CallOutcome, T | Declined]]

# Seconds for all attempts. The hook has LONGEST_HOOK; the rest is for the ledger and for comparing with the sources.
PATIENCE: Final = LONGEST_HOOK - 15
MOST_RETRIES: Final = 5
FIRST_PAUSE: Final = 0.5  # seconds before the first retry where the vendor names no time; doubled for each further one
LONGEST_OUTPUT: Final = 32_000  # tokens
MOST_TOKENS: Final = 1_000_000_000  # of one call; whoever counts more has not counted

NO_BUDGET: Final = "The day's budget for the model is spent, so it was not asked."
INSTRUCTED: Final = "The article speaks to a model instead of to a reader, so the model was not asked."
UNUSED: Final = "It was not used."


@dataclass(frozen=True, slots=True)
class Reply:
    """What a vendor's model answered.

    Args:
        text: the form it filled in, or whatever stands in its place.
        complete: whether it ended by itself, and not at its longest length.
        refused: whether it, or the vendor's filter, would not answer.
    """

    text: object
    used: Usage | None
    complete: bool = True
    refused: bool = False


class Failed(Exception):
    """A call that brought no answer.

    Args:
        why: a sentence for the operator, with nothing in it that the vendor said.
        charged: whether the vendor may charge for it.
        again: whether another attempt may go better.
        wait: seconds after which the vendor wants to be asked again, where it said so.
    """

    def __init__(
        self,
        outcome: CallOutcome,
        why: str,
        *,
        charged: bool = True,
        again: bool = False,
        wait: float | None = None,
    ) -> None:
        super().__init__(why)
        self.outcome = outcome
        self.why = why
        self.charged = charged
        self.again = again
        self.wait = wait


TIMED_OUT: Final = "The model did not answer in time."
NOT_ASKED: Final = "The model could not be asked."
NOT_REACHED: Final = "The model's provider could not be reached."
UNREADABLE: Final = f"The model's answer did not have the agreed form. {UNUSED}"


class ModelDraftGenerator(ABC):
    """An engine for ``CAIRNLOOP_DRAFT_GENERATOR`` that asks a vendor's model.

    Args:
        api_key: the vendor's key. It is shown nowhere.
        model: the vendor's name for the model.
        price: what the model costs; needed for a budget.
        daily_budget: the most that all calls of a day in UTC may cost, in the currency of the price; ``None`` for no
            limit. All engines of one vendor share it.
        timeout: seconds for one attempt.
        retries: further attempts after an answer like 429 or 500, or none in time. Each is reserved and counted for
            itself. All attempts together take no longer than 45 seconds.
        max_tokens: the longest answer, thinking included.
        base_url: another address of the vendor's interface.

    Raises:
        ConfigurationError: the extra is not installed, or a value cannot be.
    """

    vendor: str  # "anthropic" or "openai": name of the engine, of its extra and of its package

    def __init__(
        self,
        *,
        api_key: str,
        model: str,
        price: Price | None = None,
        daily_budget: Amount | None = None,
        timeout: float = 20.0,
        retries: int = 2,
        max_tokens: int = 2_000,
        base_url: str | None = None,
    ) -> None:
        name = type(self).__name__
        if find_spec(self.vendor) is None:
            raise ConfigurationError(f'{name} needs the extra: pip install "flask_cairnloop[{self.vendor}]"')
        for key, value in (("api_key", api_key), ("model", model)):
            if not isinstance(value, str) or not value.strip():
                raise ConfigurationError(f"{name}({key}=…) must be a text that is not empty.")
        if price is not None and not isinstance(price, Price):
            raise ConfigurationError(f"{name}(price=…) is {type(price).__name__}; it must be a Price.")
        if daily_budget is not None:
            check_amount(f"{name}(daily_budget=…)", daily_budget, above=0)
            if price is None:
                raise ConfigurationError(f"{name}(daily_budget=…) needs price=Price(input, output), to be reckoned by.")
        check_amount(f"{name}(timeout=…)", timeout, above=0)
        if timeout > PATIENCE:
            raise ConfigurationError(
                f"{name}(timeout=…) is {timeout!r}; all attempts together have {PATIENCE} seconds."
            )
        _check_whole(f"{name}(retries=…)", retries, 0, MOST_RETRIES)
        _check_whole(f"{name}(max_tokens=…)", max_tokens, 100, LONGEST_OUTPUT)
        if base_url is not None and not (isinstance(base_url, str) and base_url.startswith(("http://", "https://"))):
            raise ConfigurationError(f"{name}(base_url=…) must begin with http:// or https://.")
        self._key = api_key
        self.model = model
        self.price = price
        self.daily_budget = daily_budget
        self.timeout = float(timeout)
        self.retries = retries
        self.max_tokens = max_tokens
        self.base_url = base_url

    def __repr__(self) -> str:
        return f"{type(self).__name__}(model={self.model!r}, daily_budget={self.daily_budget!r})"

    def close(self) -> None:
        """Give back the connections that were kept for further calls. For hosts and tests that make many engines."""
        client = self.__dict__.pop("_client", None)
        if client is not None:
            client.close()

    @property
    def name(self) -> str:
        """The engine as a draft keeps it."""
        return f"{self.vendor} {self.model}"[:100]

    def __call__(self, grounding: Grounding) -> Proposal | Declined:
        """A draft, a hand-over to a person, or why neither came of it. Needs an app context."""
        if grounding.assessment.strength is not Strength.STRONG:
            return Declined()
        letter = model_letter.letter(grounding)
        if letter is None:
            meant_for_it = any(passage.public for passage in grounding.passages)
            return Declined(INSTRUCTED if meant_for_it else None)
        return self._asked(letter, lambda text: self._drafted(text, letter, grounding), grounding.draft_id)

    def write_article(self, brief: Brief) -> Written | Declined:
        """A suggested article, for ``CAIRNLOOP_ARTICLE_WRITER``, or why none came of it. Needs an app context."""
        sent = article_letter.letter(brief)
        if sent is None:
            return Declined()
        return self._asked(sent.letter, lambda text: self._written(text, sent, brief), None)

    def _asked(self, letter: Letter, judge: Judge[T], draft_id: int | None) -> T | Declined:
        """What comes of as many attempts as there is patience for.

        Args:
            judge: what the text of an answer is worth.
        """
        ends = time.monotonic() + PATIENCE
        if not self._ready():
            return Declined(NOT_ASKED)
        for attempt in range(self.retries + 1):
            try:
                return self._attempt(letter, judge, draft_id, min(self.timeout, ends - time.monotonic()))
            except Failed as failure:
                pause = _pause(failure, attempt)
                last = attempt == self.retries or not failure.again or time.monotonic() + pause >= ends - 1
                if last:
                    return Declined(failure.why)
                time.sleep(pause)
        raise AssertionError("the last attempt returns")

    def _attempt(self, letter: Letter, judge: Judge[T], draft_id: int | None, seconds: float) -> T | Declined:
        """One request to the vendor, from its reservation to its row.

        Raises:
            Failed: it brought no answer.
        """
        engine = current().engine
        call = ledger.reserve(
            engine,
            name=self.vendor,
            model=self.model,
            draft_id=draft_id,
            highest=self._cost(Usage(letter.most_tokens, 0, self.max_tokens)),
            daily_budget=None if self.daily_budget is None else int(self.daily_budget * MICROS),
        )
        if call is None:
            return Declined(NO_BUDGET)
        with span(MODEL) as note:
            note("model.engine", self.vendor)
            note("llm.model_name", self.model)
            try:
                reply = _within(seconds, lambda: self._guarded(letter, seconds))
            except Failed as failure:
                note("model.outcome", failure.outcome.value)
                ledger.settle(engine, call, failure.outcome, None, None if failure.charged else 0)
                raise
            outcome, result = self._judged(reply, judge)
            note("model.outcome", outcome.value)
            if reply.used is not None:
                note("llm.token_count.prompt", reply.used.input + reply.used.cached)
                note("llm.token_count.completion", reply.used.output)
            ledger.settle(engine, call, outcome, reply.used, self._cost(reply.used) if reply.used else None)
            return result

    def _guarded(self, letter: Letter, seconds: float) -> Reply:
        """What the vendor's SDK brings, or the failure behind whatever it raises."""
        try:
            return self._ask(letter, seconds)
        except Failed:
            raise
        except Exception as error:
            failure = self._failure(error)
            # The class and the status alone: what a vendor says may repeat what it was asked.
            log.warning("the model %s brought no answer: %s", self.model, _named(error))
            raise failure from error

    def _judged(self, reply: Reply, judge: Judge[T]) -> tuple[CallOutcome, T | Declined]:
        """What an answer is worth."""
        if not isinstance(reply.text, str):
            return CallOutcome.UNREADABLE, Declined(UNREADABLE)
        if reply.refused:
            return CallOutcome.REFUSED, Declined("The model refused to answer.")
        if not reply.complete:
            why = f"The model's answer was cut off at {self.max_tokens} tokens. {UNUSED}"
            return CallOutcome.UNREADABLE, Declined(why)
        try:
            return judge(reply.text)
        except model_letter.Unreadable:
            return CallOutcome.UNREADABLE, Declined(UNREADABLE)

    def _drafted(self, text: str, letter: Letter, grounding: Grounding) -> tuple[CallOutcome, Proposal | Declined]:
        answer = model_letter.read(text)
        nearness = _nearness(model_letter.compared(answer, letter))
        made = model_letter.proposal(answer, letter, grounding, nearness, self.name)
        if isinstance(made, Flaw):
            return CallOutcome.UNSUPPORTED, Declined(f"The model's draft {made.value}. {UNUSED}")
        if not model_letter.fits(made, current().settings.message_limit):
            return CallOutcome.UNREADABLE, Declined(f"The model's draft is longer than a message may be. {UNUSED}")
        used = CallOutcome.USED if made.kind is DraftKind.REPLY else CallOutcome.HANDED_OFF
        return used, made

    def _written(self, text: str, sent: Sent, brief: Brief) -> tuple[CallOutcome, Written | Declined]:
        answer = article_letter.read(text)
        nearness = _nearness(article_letter.compared(answer, sent))
        made = article_letter.written(answer, sent, brief, nearness, self.name)
        if isinstance(made, Flaw):
            return CallOutcome.UNSUPPORTED, Declined(f"The model's article {made.value}. {UNUSED}")
        try:
            text_of(brief, made)
        except Unusable as fault:
            return CallOutcome.UNREADABLE, Declined(f"Of the model's article, {fault}. {UNUSED}")
        return CallOutcome.USED, made

    def _cost(self, used: Usage) -> int:
        return 0 if self.price is None else self.price.of(used)

    def _ready(self) -> bool:
        """Load the SDK, which may take seconds the first time: no attempt shall run out of time over it."""
        try:
            self._load()
        except Exception as error:
            log.exception("the SDK of %s could not be loaded: %s", self.vendor, type(error).__name__)
            return False
        return True

    @abstractmethod
    def _load(self) -> None:
        """Import what an attempt needs, and make the client. May raise whatever the SDK raises."""

    @abstractmethod
    def _ask(self, letter: Letter, seconds: float) -> Reply:
        """Ask the vendor once. May raise whatever its SDK raises."""

    @abstractmethod
    def _failure(self, error: Exception) -> Failed:
        """What an exception of the SDK means."""


def _check_whole(what: str, value: object, least: int, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ConfigurationError(f"{what} is {value!r}; it must be a whole number from {least} to {most}.")


def _pause(failure: Failed, attempt: int) -> float:
    """Seconds before the next attempt: what the vendor asked for, or longer each time."""
    if failure.wait is not None:
        return failure.wait
    longer: float = FIRST_PAUSE * 2**attempt
    return longer * random.uniform(0.75, 1.0)  # noqa: S311 - so that not all come back at once


def _within(seconds: float, work: Callable[[], T]) -> T:
    """Do something in a thread of its own, and wait no longer than this for it.

    An SDK's timeout is for each read: an answer that comes in drops would take for ever.

    Raises:
        Failed: it did not end in time; what it brings later is lost.
    """
    outcome: list[T | BaseException] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run, name="cairnloop-model-call", daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise Failed(CallOutcome.TIMEOUT, TIMED_OUT, again=True)
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


def counted(sent: object, cached: object, written: object) -> Usage | None:
    """Tokens as a vendor counted them; ``None`` where these are no counts: the SDKs take an answer as it comes.

    Args:
        sent: those that were not cached.
    """
    numbers = [0 if number is None else number for number in (sent, cached, written)]
    if not all(isinstance(number, int) and 0 <= number <= MOST_TOKENS for number in numbers):
        return None
    return Usage(*(int(number) for number in numbers))  # type: ignore[call-overload]


def _named(error: BaseException) -> str:
    status = getattr(error, "status_code", None)
    return type(error).__name__ + (f" {status}" if isinstance(status, int) else "")


def status_failure(status: int, headers: Mapping[str, str]) -> Failed:
    """What an HTTP status of a vendor means. Only where time ran out may work have been done that is charged."""
    failure = _status_failure(status, retry_after(headers))
    if headers.get("x-should-retry") == "false":  # both vendors' own word on it
        failure.again = False
    return failure


def _status_failure(status: int, wait: float | None) -> Failed:
    if status in (429, 529):
        why = "The model's provider is busy, or takes no more requests from us now."
        return Failed(CallOutcome.LIMITED, why, charged=False, again=True, wait=wait)
    if status in (401, 403):
        return Failed(CallOutcome.FAILED, "The model's provider refused our key.", charged=False)
    if status in (408, 504):
        return Failed(CallOutcome.TIMEOUT, TIMED_OUT, again=True, wait=wait)
    if status == 409 or status >= 500:
        why = "The model's provider had an error of its own."
        return Failed(CallOutcome.FAILED, why, charged=False, again=True, wait=wait)
    return Failed(CallOutcome.FAILED, "The model's provider did not accept the request.", charged=False)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a vendor asks to wait, where it does in a form that we read."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) / unit
        except ValueError:
            continue
        if 0 <= seconds < float("inf"):
            return seconds
    return None


def _nearness(compared: Sequence[str]) -> Nearness:
    """By the embedder that search goes by, where there is one that works; else by words.

    It is asked once, for everything. Statement and passage are compared as texts of one kind; asked for as questions,
    an embedder far away has only the time of any other hook.
    """
    embedder = vectors.likely(current().hooks)
    if embedder is None:
        return support.shared_words
    texts = [*support.UNRELATED, *compared]
    try:
        known = dict(zip(texts, embed(embedder, texts, "query"), strict=True))
    except EmbeddingFailed:
        return support.shared_words
    return support.by_vectors(lambda wanted: [known[text] for text in wanted])
