"""C28: the V2 protocol as the specification has it; there is no official suite of conformance, so this is a table."""

import json

import numpy as np
import pytest
from tritonclient import grpc, http

from exeunt.contract import ANSWER_DTYPES
from tests.triton.calls import ask
from tests.triton.qa.bag import ROWS
from tests.triton.qa.wire import call, infer, infer_binary, tensor

pytestmark = pytest.mark.triton
BOTH = pytest.mark.parametrize("protocol", ["http", "grpc"])
KINDS = {"http": http, "grpc": grpc}


@pytest.fixture(params=["http", "grpc"])
def client(served, request):
    url = served.server.grpc_url if request.param == "grpc" else served.server.http_url
    with KINDS[request.param].InferenceServerClient(url) as connection:
        yield connection


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/health/live", 200),
        ("/v2/health/ready", 200),
        ("/v2", 200),
        ("/v2/models/tiny", 200),
        ("/v2/models/tiny/versions/1", 200),
        ("/v2/models/tiny/ready", 200),
        ("/v2/models/tiny/versions/1/ready", 200),
        ("/v2/models/tiny/config", 200),
        ("/v2/models/tiny/stats", 200),
        ("/v2/models/nobody", 404),
        ("/v2/models/nobody/ready", 400),
        ("/v2/nothing", 404),
        ("/v3", 404),
    ],
)
def test_c28_every_endpoint_has_the_status_of_the_protocol(served, path, status):
    actual, body = call(served.server.http_url, "GET", path)
    assert actual == status
    assert not body or json.loads(body) is not None


def test_c28_the_server_is_live_ready_and_says_who_it_is(served, client):
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("tiny")
    assert not client.is_model_ready("nobody")
    table = client.get_server_metadata()
    name = table["name"] if isinstance(table, dict) else table.name
    assert name == served.server.name


@BOTH
def test_c28_the_model_describes_its_inputs_and_outputs(served, protocol):
    kind = KINDS[protocol]
    url = served.server.grpc_url if protocol == "grpc" else served.server.http_url
    with kind.InferenceServerClient(url) as client:
        metadata = client.get_model_metadata("tiny", **({"as_json": True} if protocol == "grpc" else {}))
    (image,) = metadata["inputs"]
    assert image["name"] == "IMAGE" and image["datatype"] == "FP32"
    assert [int(dim) for dim in image["shape"]] == [-1, 1, 16, 16]
    assert {item["name"] for item in metadata["outputs"]} == set(ANSWER_DTYPES)
    assert list(metadata["versions"]) == ["1"]


def test_c28_json_and_binary_and_grpc_give_the_same_answers(served):
    never = {"exit": "never"}
    status, text = infer(served.server.http_url, {"inputs": [tensor(ROWS)], "parameters": never})
    assert status == 200
    table = {item["name"]: np.array(item["data"]).reshape(item["shape"]) for item in json.loads(text)["outputs"]}
    for protocol in ("http", "grpc"):
        outputs = ask(served.server, protocol, ROWS, **never)
        np.testing.assert_allclose(outputs["PROBABILITIES"], table["PROBABILITIES"], rtol=1e-3, atol=1e-6)
        np.testing.assert_array_equal(outputs["LABEL"], table["LABEL"])


def test_c28_a_binary_request_without_binary_outputs_is_answered_in_json(served):
    status, text = infer_binary(served.server.http_url, ROWS)
    assert status == 200
    assert {item["name"] for item in json.loads(text)["outputs"]} == set(ANSWER_DTYPES)


@pytest.mark.parametrize("name", ["abc", "", "x" * 5000, 'quote " and \\ slash', "snow ☃"])
def test_c28_a_requests_id_comes_back(served, name):
    status, text = infer(served.server.http_url, {"id": name, "inputs": [tensor(ROWS)]})
    assert status == 200 and json.loads(text).get("id", "") == name


@BOTH
@pytest.mark.parametrize("names", [["LABEL"], ["EXIT", "REASON"], ["RISK", "PROBABILITIES", "LABEL"]])
def test_c28_only_the_outputs_that_were_asked_for_come_back(served, protocol, names):
    kind = KINDS[protocol]
    url = served.server.grpc_url if protocol == "grpc" else served.server.http_url
    image = kind.InferInput("IMAGE", list(ROWS.shape), "FP32").set_data_from_numpy(ROWS)
    with kind.InferenceServerClient(url) as client:
        result = client.infer("tiny", [image], outputs=[kind.InferRequestedOutput(name) for name in names])
    assert {name for name in ANSWER_DTYPES if result.as_numpy(name) is not None} == set(names)
