"""Odd requests through the gateway, those too that would end Triton: it answers each, and the server lives on."""

from collections import Counter

import numpy as np
import pytest

from benchmarks.fuzz import over_http
from benchmarks.fuzz.over_grpc import GrpcCaller, model_configs
from benchmarks.fuzz.over_http import HttpCaller
from exeunt.serving.processes import members
from tests.export.graphs import noise_rows
from tests.gateway.running import Gateway
from tests.triton.calls import ask
from tests.triton.qa.wire import call

pytestmark = pytest.mark.triton
ROWS = noise_rows(4, 5, 16)
REQUESTS = 500  # of each kind


def outcomes(caller, kind):
    try:
        return Counter(getattr(caller, kind)() for _ in range(REQUESTS))
    finally:
        caller.close()


def test_odd_requests_are_all_answered_and_no_internal_model_is(gated_server, gated_repository, monkeypatch):
    monkeypatch.setattr(over_http, "claims_too_much", lambda content: False)  # here they are sent, too
    rng, processes = np.random.default_rng(3), sorted(members(gated_server.pid))
    internal = [name for name in gated_server.models if name not in ("tiny", "tiny_stream")]
    configs = [call(gated_server.http_url, "GET", f"/v2/models/{name}/config")[1] for name in internal]
    with Gateway.before(gated_server, gated_repository) as gateway:  # at its end it must have said nothing of errors
        by_kind = {
            kind: outcomes(HttpCaller(gateway.http_url, ROWS, rng), kind) for kind in ("json_request", "binary_request")
        }
        for kind in ("message_request", "internal_request"):
            by_kind[kind] = outcomes(GrpcCaller(gateway.grpc_url, ROWS, model_configs(configs), rng), kind)
        np.testing.assert_array_equal(
            *(ask(server, "grpc", ROWS, exit="never")["LABEL"] for server in (gateway, gated_server))
        )
    assert set(by_kind["internal_request"]) == {"gRPC NOT_FOUND"}
    for kind in ("json_request", "binary_request", "message_request"):
        assert by_kind[kind][("gRPC OK" if kind == "message_request" else "HTTP 200")] > 50
        assert not [odd for odd in by_kind[kind] if odd.startswith(("hang", "bug", "cut", "gRPC UNKNOWN"))], by_kind
    assert sorted(members(gated_server.pid)) == processes
