"""Drafts by a model of Anthropic, through their own SDK."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from anthropic import Anthropic


class AnthropicDraftGenerator(ModelDraftGenerator):
    """Asks Claude by Anthropic's Messages API. Arguments as of :class:`ModelDraftGenerator`."""

    vendor = "anthropic"

    @cached_property
    def _client(self) -> Anthropic:
        from anthropic import Anthropic

        return Anthropic(
            api_key=self._key,
            # Said outright: a variable of the environment shall not send customers' words elsewhere.
            base_url=self.base_url or "https://api.anthropic.com",
            # Each attempt is reserved for itself, and a Retry-After of any length would be waited for.
            max_retries=0,
            # It would put the words of requests into spans where a variable of the environment says so.
            open_telemetry=False,
        )

    def _load(self) -> None:
        _ = self._client.messages  # the SDK imports it when it is named

    def _ask(self, letter: Letter, seconds: float) -> Reply:
        answer = self._client.messages.create(
            model=self.model,
            max_tokens=self.max_tokens,
            system=letter.instructions,
            messages=[{"role": "user", "content": letter.data}],
            output_config={"format": {"type": "json_schema", "schema": letter.schema}},
            timeout=seconds,
        )
        try:
            used = answer.usage
            text = "".join(block.text for block in answer.content if block.type == "text")
            return Reply(
                text,
                counted(
                    used.input_tokens + (used.cache_creation_input_tokens or 0),
                    used.cache_read_input_tokens,
                    used.output_tokens,
                ),
                complete=answer.stop_reason not in ("max_tokens", "model_context_window_exceeded"),
                refused=answer.stop_reason == "refusal",
            )
        except (AttributeError, TypeError) as error:  # the SDK takes an answer of any form for one of its own
            raise Failed(CallOutcome.UNREADABLE, UNREADABLE) from error

    def _failure(self, error: Exception) -> Failed:
        import anthropic
        import httpx2

        if isinstance(error, anthropic.APIStatusError):
            return status_failure(error.status_code, error.response.headers)
        if isinstance(error, anthropic.APIConnectionError):
            sent = not isinstance(error.__cause__, httpx2.ConnectError | httpx2.ConnectTimeout)
            if isinstance(error, anthropic.APITimeoutError):
                return Failed(CallOutcome.TIMEOUT, TIMED_OUT, again=True, charged=sent)
            return Failed(CallOutcome.FAILED, NOT_REACHED, again=True, charged=sent)
        if isinstance(error, anthropic.APIResponseValidationError | ValueError):
            return Failed(CallOutcome.UNREADABLE, UNREADABLE)
        return Failed(CallOutcome.FAILED, NOT_ASKED)
