"""The official Python client, unmodified, against a real web server and a real worker."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import httpx2
import pytest
from mcp.client.client import Client
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, GetTaskRequestParams, Request, Result
from mcp_types.version import LATEST_HANDSHAKE_VERSION, LATEST_MODERN_VERSION

from flask_cairnloop.governance import service as governance
from flask_cairnloop.mcp.projection import TASKS
from tests.mcp.conftest import Key
from tests.support.processes import Process
from tests.support.tools import PEOPLE

Work = Callable[[Client], Awaitable[Any]]


@pytest.fixture
def talk(live_server: Process, worker: Process) -> Callable[..., Any]:
    """``talk(key, work)`` runs ``work(client)`` in a session of the official client."""

    def run(key: Key | None, work: Work, *, mode: str = "auto", extensions: list[ClientExtension] | None = None) -> Any:
        headers = {"Authorization": f"Bearer {key.raw}"} if key else {}

        async def session() -> Any:
            async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
                transport = streamable_http_client(f"{live_server.url}/support/mcp", http_client=http)
                async with Client(transport, mode=mode, extensions=extensions) as client:  # type: ignore[arg-type]
                    return await work(client)

        with ThreadPoolExecutor(1) as apart:  # a browser of other tests has its own loop running in this thread
            return apart.submit(asyncio.run, session()).result()

    return run


async def settled(client: Client, number: int) -> dict[str, Any]:
    for _ in range(200):
        found = await client.call_tool("action_status", {"action_id": number})
        assert found.structured_content is not None
        if found.structured_content["over"]:
            return dict(found.structured_content)
        await asyncio.sleep(0.1)
    raise AssertionError("It is not over yet.")


@pytest.mark.parametrize(("mode", "version"), [("auto", LATEST_MODERN_VERSION), ("legacy", LATEST_HANDSHAKE_VERSION)])
def test_it_lists_reads_calls_and_reads_the_outcome_after_an_approval(
    talk: Callable[..., Any],
    make_token: Callable[..., Key],
    at_the_desk: Callable[..., Any],
    conversation: int,
    articles: None,
    mode: str,
    version: str,
) -> None:
    mark = f"client-{mode}"

    async def work(client: Client) -> dict[str, Any]:
        assert client.protocol_version == version
        assert client.server_info is not None
        assert client.server_info.name == "flask-cairnloop"
        names = [tool.name for tool in (await client.list_tools()).tools]
        assert "refund" in names
        uri = (await client.list_resources()).resources[0].uri
        (content,) = (await client.read_resource(uri)).contents
        assert content.text.startswith("# refunds")
        made = await client.call_tool("refund", {"mark": mark, "amount": 3, "conversation_id": conversation})
        assert made.structured_content is not None
        assert made.structured_content["state"] == "pending"
        number = made.structured_content["action_id"]
        await asyncio.to_thread(at_the_desk, lambda s: governance.approve(s, number, actor=PEOPLE["ada"]) and None)
        return await settled(client, number)

    outcome = talk(make_token(), work, mode=mode)
    assert (outcome["state"], outcome["result"]) == ("succeeded", {"amount": 3})


class TaskHandle(Result):
    """What a client of the tasks extension gets in place of a result."""

    result_type: Literal["task"] = "task"
    task_id: str


class TaskState(Result):
    status: str
    result: CallToolResult | None = None


class GetTask(Request[GetTaskRequestParams, Literal["tasks/get"]]):
    method: Literal["tasks/get"] = "tasks/get"
    params: GetTaskRequestParams
    name_param = "taskId"


class Tasks(ClientExtension):
    """The extension as its specification has a client do it: ask again until it is over."""

    identifier = TASKS

    def __init__(self) -> None:
        self.asked: list[str] = []

    def claims(self) -> Sequence[ResultClaim[Any]]:
        return [ResultClaim(result_type="task", model=TaskHandle, resolve=self._resolve)]

    async def _resolve(self, handle: TaskHandle, context: ClaimContext) -> CallToolResult:
        for _ in range(200):
            request = GetTask(params=GetTaskRequestParams(task_id=handle.task_id))
            state = await context.session.send_request(request, TaskState)
            self.asked.append(state.status)
            if state.result is not None:
                return state.result
            await asyncio.sleep(0.1)
        raise AssertionError("It is not over yet.")


def test_a_client_that_knows_tasks_gets_the_outcome_from_the_call_itself(
    talk: Callable[..., Any], make_token: Callable[..., Key]
) -> None:
    tasks = Tasks()

    async def work(client: Client) -> CallToolResult:
        return await client.call_tool("peek", {"mark": "by a task"})

    result = talk(make_token(), work, extensions=[tasks])
    assert result.structured_content["state"] == "succeeded"
    assert tasks.asked[-1] == "completed"


def test_a_token_without_the_scope_neither_sees_nor_runs_the_tool(
    talk: Callable[..., Any], make_token: Callable[..., Key]
) -> None:
    async def work(client: Client) -> None:
        assert "refund" not in [tool.name for tool in (await client.list_tools()).tools]
        with pytest.raises(MCPError, match="There is no such tool"):
            await client.call_tool("refund", {"mark": "no"})

    talk(make_token("actions.propose", "knowledge.read"), work)


def test_without_a_token_it_is_refused_before_anything(talk: Callable[..., Any]) -> None:
    async def work(client: Client) -> None:
        raise AssertionError("It was let in.")

    with pytest.raises(ExceptionGroup, match="TaskGroup") as refused:
        talk(None, work)
    assert "let in" not in repr(refused.value)
