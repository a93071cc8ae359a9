"""Whatever comes, the endpoint answers in the protocol's own words, and never with a failure of ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from mcp_types import CLIENT_CAPABILITIES_META_KEY, PROTOCOL_VERSION_META_KEY
from mcp_types.version import KNOWN_PROTOCOL_VERSIONS

from flask_cairnloop.mcp.methods import METHODS
from flask_cairnloop.mcp.projection import TASKS
from tests.mcp.conftest import Machine

CASES = 10_000
STATUSES = {200, 202, 400, 404}
CODES = {-32700, -32600, -32601, -32602, -32002, -32020, -32021, -32022}

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12),
    st.sampled_from(["peek", "tag", "action_status", "cairnloop://articles/refunds", "action-1", "\ud800", "x\x00y"]),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
)
arguments = st.dictionaries(
    st.sampled_from(["mark", "amount", "how", "conversation_id", "reason", "idempotency_key", "action_id", "question"]),
    values,
    max_size=4,
)
metas = st.one_of(
    values,
    st.builds(
        lambda version, able: {PROTOCOL_VERSION_META_KEY: version, CLIENT_CAPABILITIES_META_KEY: able},
        st.one_of(st.sampled_from(KNOWN_PROTOCOL_VERSIONS), scalars),
        st.one_of(st.just({"extensions": {TASKS: {}}}), values),
    ),
)
params = st.one_of(
    values,
    st.fixed_dictionaries(
        {},
        optional={
            "name": st.one_of(st.sampled_from(["peek", "tag", "payout", "action_status"]), values),
            "arguments": st.one_of(arguments, values),
            "uri": values,
            "cursor": values,
            "taskId": values,
            "protocolVersion": values,
            "capabilities": values,
            "clientInfo": values,
            "_meta": metas,
        },
    ),
)
requests = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.one_of(st.just("2.0"), scalars),
        "id": st.one_of(st.integers(), st.text(max_size=5), values),
        "method": st.one_of(st.sampled_from(sorted(METHODS)), scalars),
        "params": params,
    },
)
bodies = st.one_of(
    requests.map(json.dumps).map(str.encode),
    st.lists(requests, max_size=3).map(json.dumps).map(str.encode),
    values.map(json.dumps).map(str.encode),
    st.binary(max_size=40),
)
header = st.one_of(
    st.sampled_from([*KNOWN_PROTOCOL_VERSIONS, *sorted(METHODS), "peek", "=?base64?eA==?="]), st.just("")
)
headers = st.dictionaries(st.sampled_from(["MCP-Protocol-Version", "Mcp-Method", "Mcp-Name"]), header)


# What is drawn differs with the machine; each kind of answer is met whatever is drawn.
MODERN = {PROTOCOL_VERSION_META_KEY: KNOWN_PROTOCOL_VERSIONS[-1], CLIENT_CAPABILITIES_META_KEY: {}}
UNKNOWN = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/forget", "params": {"_meta": MODERN}}).encode()
PING = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {}}).encode()


def test_ten_thousand_requests_of_every_kind(machine: Callable[..., Machine]) -> None:
    client = machine(rate=None)
    seen: dict[int, int] = {}

    @settings(
        max_examples=CASES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
    @given(bodies, headers, st.booleans())
    @example(UNKNOWN, {}, True)
    @example(PING, {}, False)
    @example(b"{", {}, False)
    def fuzz(body: bytes, said: dict[str, str], mirrored: bool) -> None:
        answer = client.post(body, {**said, **(_mirrored(body) if mirrored else {})})
        seen[answer.status_code] = seen.get(answer.status_code, 0) + 1
        assert answer.status_code in STATUSES, (body, said)
        if answer.status_code == 202:
            assert answer.data == b""
            return
        told = answer.json
        for one in told if isinstance(told, list) else [told]:
            assert one["jsonrpc"] == "2.0"
            assert ("result" in one) != ("error" in one)
            assert "error" not in one or one["error"]["code"] in CODES

    fuzz()
    assert {200, 400, 404} <= seen.keys()
    assert sum(seen.values()) >= CASES


def _mirrored(body: bytes) -> dict[str, str]:
    """The headers that fit a body, so that more than the outermost check is met."""
    try:
        decoded = json.loads(body)
    except ValueError:
        return {}
    if not isinstance(decoded, dict) or not isinstance(decoded.get("params"), dict):
        return {}
    given_params: dict[str, Any] = decoded["params"]
    meta = given_params.get("_meta")
    wanted = {
        "MCP-Protocol-Version": meta.get(PROTOCOL_VERSION_META_KEY) if isinstance(meta, dict) else None,
        "Mcp-Method": decoded.get("method"),
        "Mcp-Name": given_params.get("name") or given_params.get("uri") or given_params.get("taskId"),
    }
    return {
        name: value
        for name, value in wanted.items()
        if isinstance(value, str) and value.isascii() and value.isprintable()
    }
