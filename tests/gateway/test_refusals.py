"""Whatever is not public is refused, over both protocols and on streams, however it is asked for."""

import grpc
import numpy as np
import pytest
from tritonclient import grpc as triton_grpc
from tritonclient import http as triton_http
from tritonclient.grpc import service_pb2 as pb
from tritonclient.utils import InferenceServerException

from tests.export.graphs import noise_rows
from tests.triton.calls import ask
from tests.triton.qa.wire import call, infer, tensor

pytestmark = pytest.mark.triton
ROWS = noise_rows(2, 5, 16)
METHOD = "/inference.GRPCInferenceService/"


def message(name, raw_name_before=b"", raw_name_after=b""):
    """A request for a model, with bytes before and after what protobuf writes of it."""
    request = pb.ModelInferRequest(model_name=name)
    request.inputs.add(name="IMAGE", datatype="FP32", shape=list(ROWS.shape))
    request.raw_input_contents.append(ROWS.tobytes())
    return raw_name_before + request.SerializeToString() + raw_name_after


def field(name):
    """The field model_name as bytes."""
    return b"\x0a" + bytes([len(name)]) + name.encode()


def refusal(name):
    return f"model '{name}' is not public here; the caller may ask tiny, tiny_stream"


def send(url, content, method="ModelInfer"):
    """Code and text of a call's end, and its answer."""
    with grpc.insecure_channel(url) as channel:
        try:
            answer = channel.unary_unary(METHOD + method)(content, timeout=60)
        except grpc.RpcError as error:
            return error.code().name, error.details(), b""
    return "OK", "", answer


@pytest.fixture(scope="module")
def internal(gateway, gated_server):
    """Every model of the server that is not public."""
    names = [name for name in gated_server.models if name not in ("tiny", "tiny_stream")]
    assert {"tiny_exit", "tiny_bag", "tiny_vote", "tiny_full", "tiny_a_s1"} < set(names)
    return names


def test_no_internal_model_is_reached_over_grpc(gateway, internal):
    for name in internal:
        assert send(gateway.grpc_url, message(name))[:2] == ("NOT_FOUND", refusal(name))
        for kind, method in ((pb.ModelConfigRequest, "ModelConfig"), (pb.ModelMetadataRequest, "ModelMetadata")):
            assert send(gateway.grpc_url, kind(name=name).SerializeToString(), method)[0] == "NOT_FOUND"


def test_no_internal_model_is_reached_over_http(gateway, internal):
    for name in internal:
        status, text = infer(gateway.http_url, {"inputs": [tensor(ROWS)]}, model=name)
        assert status == 404 and f"model '{name}' is not public here" in text
        for path in ("", "/config", "/stats", "/ready", "/versions/1", "/versions/1/config"):
            assert call(gateway.http_url, "GET", f"/v2/models/{name}{path}")[0] == 404


def test_no_internal_model_is_reached_by_a_stream(gateway, internal):
    with grpc.insecure_channel(gateway.grpc_url) as channel:
        calls = [*map(message, internal), message("tiny")]
        stream = channel.stream_stream(METHOD + "ModelStreamInfer")(iter(calls), timeout=60)
        responses = [pb.ModelStreamInferResponse.FromString(answer) for answer in stream]
    errors = [response.error_message for response in responses if response.error_message]
    assert sorted(errors) == sorted(
        f"model '{name}' is not public here; the caller may ask tiny, tiny_stream" for name in internal
    )
    assert [r.infer_response.model_name for r in responses if not r.error_message] == ["tiny"]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (message("tiny", raw_name_after=field("tiny_exit")), "NOT_FOUND"),
        (message("", raw_name_after=field("tiny_exit")), "NOT_FOUND"),
        (message("tiny_exit", raw_name_before=field("tiny")), "NOT_FOUND"),
        (message("tiny_exit", raw_name_after=field("tiny")), "OK"),
        (message("", raw_name_after=field("tiny")), "OK"),
        (message("tiny\0"), "NOT_FOUND"),
        (message("TINY"), "NOT_FOUND"),
        (message("tiny/versions/1"), "NOT_FOUND"),
        (message(""), "NOT_FOUND"),
        (b"\x0a\xff", "INVALID_ARGUMENT"),
        (field("tiny") + b"\x0a\x04\xff\xfe\xfd\xfc", "INVALID_ARGUMENT"),
    ],
)
def test_the_name_that_counts_is_the_one_that_the_server_reads(gateway, content, code):
    status, _, answer = send(gateway.grpc_url, content)
    assert status == code
    if code == "OK":
        assert pb.ModelInferResponse.FromString(answer).model_name == "tiny"


@pytest.mark.parametrize(
    "method",
    [
        *("RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload", "TraceSetting", "LogSettings"),
        *(f"{kind}SharedMemory{what}" for kind in ("System", "Cuda") for what in ("Status", "Register", "Unregister")),
        "NobodyKnows",
    ],
)
def test_what_operators_use_is_closed_over_grpc(gateway, method):
    code, text, _ = send(gateway.grpc_url, b"", method)
    assert code == "UNIMPLEMENTED" and text.startswith(f"{method} is closed at this gateway")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v2/repository/index"),
        ("POST", "/v2/repository/models/tiny/load"),
        ("POST", "/v2/repository/models/tiny/unload"),
        ("GET", "/v2/systemsharedmemory/status"),
        ("POST", "/v2/systemsharedmemory/region/a/register"),
        ("POST", "/v2/cudasharedmemory/region/a/register"),
        ("GET", "/v2/trace/setting"),
        ("POST", "/v2/models/tiny/trace/setting"),
        ("POST", "/v2/models/tiny_exit/generate"),
        ("POST", "/v2/logging"),
        ("GET", "/v2/models/stats"),
    ],
)
def test_what_operators_use_is_closed_over_http(gateway, method, path):
    status, body = call(gateway.http_url, method, path)
    assert status == 403 and b"is closed at this gateway; the server's operator may ask" in body


@pytest.mark.parametrize(
    "path", ["/v2/models/tiny/../tiny_exit", "/v2/models/tiny%2f..%2ftiny_exit/config", "/metrics"]
)
def test_odd_paths_lead_nowhere(gateway, path):
    status, body = call(gateway.http_url, "GET", path)
    assert status == 404 and b"error" in body


def test_a_model_that_is_not_there_is_refused_as_an_internal_one(gateway):
    for kind, url in ((triton_grpc, gateway.grpc_url), (triton_http, gateway.http_url)):
        with (
            kind.InferenceServerClient(url) as client,
            pytest.raises(InferenceServerException, match="not public here"),
        ):
            client.get_model_metadata("nobody")


@pytest.mark.parametrize("shape", [[4_000_000_000, 1, 16, 16], [100_000, 1, 16, 16], [2**62, 4], [2**40] * 3])
def test_shapes_that_would_end_the_server_do_not_reach_it(gateway, gated_server, shape):
    for content in ({"inputs": [tensor(ROWS, shape=shape, data=[1.0])]}, {"inputs": [tensor(ROWS, shape=shape)]}):
        status, text = infer(gateway.http_url, content)
        assert status == 400 and "the caller must send as many as it claims" in text
    assert gated_server.running()
    labels = [ask(server, "http", ROWS, exit="never")["LABEL"] for server in (gateway, gated_server)]
    np.testing.assert_array_equal(*labels)
