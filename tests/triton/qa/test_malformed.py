"""C1 to C6: what is no request gets an error that says why, over both protocols, and the next request its answer."""

import numpy as np
import pytest
from tritonclient import grpc, http
from tritonclient.utils import InferenceServerException

from tests.triton.calls import ask
from tests.triton.qa.bag import ROWS
from tests.triton.qa.wire import infer, infer_binary, send_part, tensor

pytestmark = pytest.mark.triton
TWO = ROWS[:2]
GOOD = tensor(TWO)
MANY = np.zeros((17, 1, 16, 16), np.float32)
BOTH = pytest.mark.parametrize("protocol", ["http", "grpc"])
# what the HTTP front end cannot parse it answers itself, before any model is asked: 500 in Triton 24.10, 400 later
UNPARSED = (400, 500)


@pytest.fixture(autouse=True)
def the_next_request_is_answered_right(served):
    yield
    assert served.wrong(ask(served.server, "http", ROWS)) == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"inputs": [', "failed to parse the request JSON"),
        (b"[" * 100_000, "failed to parse the request JSON"),
        (b"[1, 2]", "Unable to parse 'inputs'"),
        (b"{}", "Unable to parse 'inputs'"),
        (b'{"inputs": 3}', "Unable to parse 'inputs'"),
        (b'{"inputs": [3]}', "Input must set only one"),
        (b"", "byte size mismatch"),
        (b'{"inputs": [], "parameters": []}', "failed to get request params"),
    ],
)
def test_c1_malformed_json_is_refused_with_its_cause(served, body, words):
    status, text = infer(served.server.http_url, body)
    assert status in UNPARSED and words in text


@pytest.mark.parametrize("length", [0, 1, 2100, 10**6, -1, 10**20, "x"])
def test_c1_a_wrong_inference_header_content_length_is_refused(served, length):
    status, text = infer_binary(served.server.http_url, TWO, header_length=length)
    assert status in UNPARSED and "error" in text


def test_c1_a_truncated_binary_body_is_refused_with_what_is_missing(served):
    status, text = infer_binary(served.server.http_url, TWO, cut=10)
    assert status == 400 and "expecting 10 additional bytes" in text


def test_c1_a_connection_that_ends_within_the_body_harms_nobody(served):
    head = "POST /v2/models/tiny/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n"
    for _ in range(20):
        send_part(served.server.http_url, head, b'{"inputs": [').close()


@pytest.mark.parametrize(
    ("model", "words"),
    [("nobody", "'nobody' is not found"), ("tiny/versions/7", "version 7 is not found"), ("tiny/versions/x", "Not Fo")],
)
def test_c2_an_unknown_model_or_version_is_not_found_over_http(served, model, words):
    status, text = infer(served.server.http_url, {"inputs": [GOOD]}, model=model)
    assert status == 404 and words in text


@pytest.mark.parametrize(("model", "version"), [("nobody", ""), ("tiny", "7")])
def test_c2_an_unknown_model_or_version_is_not_found_over_grpc(served, model, version):
    refused = pytest.raises(InferenceServerException, match="is not found")
    with grpc.InferenceServerClient(served.server.grpc_url) as client, refused as caught:
        client.infer(model, [_input("grpc", TWO)], model_version=version)
    assert caught.value.status() == "StatusCode.NOT_FOUND"


@BOTH
def test_c2_an_unknown_output_is_refused_by_name(served, protocol):
    with pytest.raises(InferenceServerException, match="unexpected inference output 'NOPE'"):
        _infer(served, protocol, [_input(protocol, TWO)], ["NOPE"])


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ([], "missing required input"),
        ([GOOD, tensor(TWO, "OTHER")], "expected 1 inputs but got 2"),
        ([GOOD, GOOD], "'IMAGE' already exists"),
        ([GOOD, tensor(ROWS)], "'IMAGE' already exists"),
        ([tensor(TWO, "OTHER")], "OTHER"),
    ],
)
def test_c3_a_missing_extra_or_duplicate_input_is_an_invalid_argument(served, inputs, words):
    status, text = infer(served.server.http_url, {"inputs": inputs})
    assert status == 400 and words in text


@pytest.mark.parametrize("names", [[], ["IMAGE", "OTHER"], ["IMAGE", "IMAGE"], ["OTHER"]])
def test_c3_a_missing_extra_or_duplicate_input_is_an_invalid_argument_over_grpc(served, names):
    with pytest.raises(InferenceServerException) as caught:
        _infer(served, "grpc", [_input("grpc", TWO, name) for name in names])
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"datatype": "INT64", "data": [1] * 512}, "'IMAGE' data-type is 'INT64', but model 'tiny' expects 'FP32'"),
        ({"datatype": "BYTES", "data": ["a"] * 512}, "'IMAGE' data-type is 'BYTES', but model 'tiny' expects 'FP32'"),
        ({"datatype": "FLOAT"}, "invalid datatype for input IMAGE"),
        ({"shape": [2, 256]}, "Expected [-1,1,16,16], got [2,256]"),
        ({"shape": [2, 1, 8, 32]}, "Expected [-1,1,16,16], got [2,1,8,32]"),
        ({"shape": []}, "'IMAGE' has no shape"),
        ({"shape": [2**62, 1, 16, 16]}, "'IMAGE'"),
        ({"shape": [2**64, 1, 16, 16]}, "Unable to parse 'shape'"),
        ({"shape": [-1, 1, 16, 16]}, "Unable to parse 'shape'"),
        ({"shape": [2.5, 1, 16, 16]}, "Unable to parse 'shape'"),
        ({"data": [1.0]}, "Shape does not match"),
        ({"data": ["a"] * 512}, "Unable to parse 'data'"),
    ],
)
def test_c4_a_wrong_dtype_rank_or_dim_is_refused_with_what_was_expected(served, fields, words):
    status, text = infer(served.server.http_url, {"inputs": [GOOD | fields]})
    assert status in UNPARSED and words in text
    assert status == 400 or "Unable to parse" in text


@pytest.mark.parametrize("size", [100, 2044, 2052, 10**6, 2**63, -4])
def test_c4_a_wrong_byte_size_is_refused(served, size):
    status, text = infer_binary(served.server.http_url, TWO, size=size)
    assert status in UNPARSED and "error" in text


def test_c4_a_byte_size_that_is_not_the_shapes_is_refused_with_both(served):
    status, text = infer_binary(served.server.http_url, TWO, shape=[3, 1, 16, 16])
    assert status == 400 and "'IMAGE'" in text and "Expected 3072, got 2048" in text


@BOTH
def test_c5_more_rows_than_the_bag_takes_are_refused_with_how_many_it_takes(served, protocol):
    with pytest.raises(InferenceServerException, match="batch-size must be <= 16"):
        ask(served.server, protocol, MANY)


def test_c6_no_rows_are_refused_over_http(served):
    for status, text in (
        infer(served.server.http_url, {"inputs": [tensor(TWO[:0])]}),
        infer_binary(served.server.http_url, TWO[:0]),
    ):
        assert status == 400 and "'IMAGE'" in text


def test_c6_no_rows_are_refused_over_grpc(served):
    with pytest.raises(InferenceServerException, match="'IMAGE'") as caught:
        ask(served.server, "grpc", TWO[:0])
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"


def _input(protocol, rows, name="IMAGE"):
    kind = {"http": http, "grpc": grpc}[protocol]
    return kind.InferInput(name, list(rows.shape), "FP32").set_data_from_numpy(rows)


def _infer(served, protocol, inputs, outputs=()):
    kind = {"http": http, "grpc": grpc}[protocol]
    url = served.server.grpc_url if protocol == "grpc" else served.server.http_url
    with kind.InferenceServerClient(url) as client:
        return client.infer("tiny", inputs, outputs=[kind.InferRequestedOutput(name) for name in outputs])
