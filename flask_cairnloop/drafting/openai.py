"""Drafts by a model of OpenAI, or of any server that speaks its interface, through their own SDK."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Literal

from flask_cairnloop.drafting.ledger import Amount, Price, Usage
from flask_cairnloop.drafting.model_engine import (
    NOT_ASKED,
    NOT_REACHED,
    TIMED_OUT,
    UNREADABLE,
    Failed,
    ModelDraftGenerator,
    Reply,
    counted,
    status_failure,
)
from flask_cairnloop.drafting.model_letter import Letter
from flask_cairnloop.drafting.models import CallOutcome
from flask_cairnloop.errors import ConfigurationError

if TYPE_CHECKING:
    from openai import OpenAI

LimitName = Literal["max_completion_tokens", "max_tokens"]


class OpenAIDraftGenerator(ModelDraftGenerator):
    """Asks by the Chat Completions API, which other servers speak as well. See :class:`ModelDraftGenerator`.

    Args:
        base_url: of another server that speaks it, with its version, such as ``"http://localhost:8000/v1"``. It has
            to hold answers to a JSON schema.
        limit_name: what the server calls the longest answer; older ones know ``"max_tokens"`` only.
    """

    vendor = "openai"

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
        limit_name: LimitName = "max_completion_tokens",
    ) -> None:
        super().__init__(
            api_key=api_key,
            model=model,
            price=price,
            daily_budget=daily_budget,
            timeout=timeout,
            retries=retries,
            max_tokens=max_tokens,
            base_url=base_url,
        )
        if limit_name not in ("max_completion_tokens", "max_tokens"):
            raise ConfigurationError(
                'OpenAIDraftGenerator(limit_name=…) must be "max_completion_tokens" or "max_tokens".'
            )
        self.limit_name = limit_name

    @cached_property
    def _client(self) -> OpenAI:
        from openai import OpenAI

        return OpenAI(
            api_key=self._key,
            # Said outright: a variable of the environment shall not send customers' words elsewhere.
            base_url=self.base_url or "https://api.openai.com/v1",
            # Each attempt is reserved for itself, and a Retry-After of two minutes would be waited for.
            max_retries=0,
        )

    def _load(self) -> None:
        _ = self._client.chat.completions  # the SDK imports it when it is named

    def _ask(self, letter: Letter, seconds: float) -> Reply:
        from openai import omit

        newer = self.limit_name == "max_completion_tokens"
        answer = self._client.chat.completions.create(
            model=self.model,
            messages=[
                {"role": "system", "content": letter.instructions},
                {"role": "user", "content": letter.data},
            ],
            response_format={
                "type": "json_schema",
                "json_schema": {"name": letter.form, "schema": letter.schema, "strict": True},
            },
            max_completion_tokens=self.max_tokens if newer else omit,
            max_tokens=omit if newer else self.max_tokens,
            store=omit if self.base_url else False,  # other servers need not know it
            timeout=seconds,
        )
        try:
            choice = answer.choices[0]
            return Reply(
                choice.message.content or "",
                _usage(answer.usage),
                complete=choice.finish_reason != "length",
                refused=choice.finish_reason == "content_filter" or bool(choice.message.refusal),
            )
        except (AttributeError, TypeError, IndexError) as error:  # the SDK takes an answer of any form for its own
            raise Failed(CallOutcome.UNREADABLE, UNREADABLE) from error

    def _failure(self, error: Exception) -> Failed:
        import httpx2
        import openai

        if isinstance(error, openai.APIStatusError):
            return status_failure(error.status_code, error.response.headers)
        if isinstance(error, openai.APIConnectionError):
            sent = not isinstance(error.__cause__, httpx2.ConnectError | httpx2.ConnectTimeout)
            if isinstance(error, openai.APITimeoutError):
                return Failed(CallOutcome.TIMEOUT, TIMED_OUT, again=True, charged=sent)
            return Failed(CallOutcome.FAILED, NOT_REACHED, again=True, charged=sent)
        if isinstance(error, openai.APIResponseValidationError | ValueError):
            return Failed(CallOutcome.UNREADABLE, UNREADABLE)
        return Failed(CallOutcome.FAILED, NOT_ASKED)


def _usage(used: object) -> Usage | None:
    """Tokens as the server counted them; ``None`` where it did not, as some do not."""
    sent, written = getattr(used, "prompt_tokens", None), getattr(used, "completion_tokens", None)
    if not isinstance(sent, int) or not isinstance(written, int):
        return None
    cached = getattr(getattr(used, "prompt_tokens_details", None), "cached_tokens", None)
    return counted(sent - cached if isinstance(cached, int) else sent, cached, written)
