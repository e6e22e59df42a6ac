from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from exeunt_client import AsyncClient, Client
from exeunt_client.errors import ClientError, OverloadedError, RequestError, ServingError
from exeunt_client.protocol import Address, InputSpec, Signature, translate

METADATA = {
    "name": "digits",
    "inputs": [{"name": "image", "datatype": "FP32", "shape": ["-1", "1", "4", "4"]}],
    "outputs": [{"name": "PROBABILITIES"}, {"name": "LABEL"}, {"name": "EXTRA"}],
}
SIGNATURE = Signature("digits", (InputSpec("image", "FP32", (-1, 1, 4, 4)),), ("PROBABILITIES",), ())


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("grpc://host:8001", Address("grpc", "host:8001", tls=False)),
        ("https://host:443/", Address("http", "host:443", tls=True)),
    ],
)
def test_an_address_has_protocol_host_and_port(url: str, expected: Address) -> None:
    assert Address.parse(url) == expected


@pytest.mark.parametrize("url", ["127.0.0.1:8001", "ftp://host:21", "grpc://host"])
def test_a_url_that_says_too_little_is_refused(url: str) -> None:
    with pytest.raises(RequestError, match="url"):
        Address.parse(url)


def test_both_protocols_describe_the_same_model() -> None:
    labels = {"parameters": {"labels": {"string_value": '["zero", "one"]'}}}
    over_http = {**METADATA, "inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 1, 4, 4]}]}
    described = Signature.from_server(METADATA, {"config": labels})
    assert described == Signature.from_server(over_http, labels)
    assert described.labels == ("zero", "one")
    assert described.outputs == ("PROBABILITIES", "LABEL")


def test_a_model_of_one_input_takes_a_bare_array() -> None:
    images = np.zeros((2, 1, 4, 4), dtype=np.float32)
    assert SIGNATURE.named(images)["image"] is images


@pytest.mark.parametrize(
    "inputs",
    [
        np.zeros((2, 1, 4, 4)),
        np.zeros((2, 1, 4, 5), dtype=np.float32),
        np.zeros((1, 4, 4), dtype=np.float32),
        {},
    ],
)
def test_inputs_that_do_not_fit_are_refused_by_name(inputs: np.ndarray | dict[str, np.ndarray]) -> None:
    with pytest.raises(RequestError, match="'image'"):
        SIGNATURE.named(inputs)


def test_an_unknown_input_is_refused_by_name() -> None:
    with pytest.raises(RequestError, match="'picture'"):
        SIGNATURE.named({"picture": np.zeros((2, 1, 4, 4), dtype=np.float32)})


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("StatusCode.INVALID_ARGUMENT", RequestError),
        ("400", RequestError),
        ("404", RequestError),
        ("StatusCode.UNAVAILABLE", OverloadedError),
        ("503", OverloadedError),
        ("StatusCode.INTERNAL", ServingError),
        ("500", ServingError),
        (None, ServingError),
    ],
)
def test_a_refusal_says_who_must_act_in_the_servers_words(status: str | None, expected: type[ClientError]) -> None:
    error = translate(InferenceServerException("unexpected shape for 'image'", status), "model 'm'")
    assert type(error) is expected
    assert "unexpected shape for 'image'" in str(error)


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_no_server_is_not_the_callers_fault(scheme: str) -> None:
    with pytest.raises(ServingError, match="no server answers"):
        Client(f"{scheme}://127.0.0.1:{_closed_port()}", "digits")


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_no_server_is_not_the_coroutines_fault_either(scheme: str) -> None:
    async def ask() -> None:
        async with AsyncClient(f"{scheme}://127.0.0.1:{_closed_port()}", "digits"):
            pass

    with pytest.raises(ServingError, match="no server answers"):
        asyncio.run(ask())


def test_the_grpc_port_behind_an_http_url_is_suspected() -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()

    async def ask() -> None:
        async with AsyncClient(url, "digits"):
            pass

    try:
        with pytest.raises(ServingError, match=r"no HTTP server answers there; is it the gRPC port\?"):
            Client(url, "digits")
        with pytest.raises(ServingError, match=r"no HTTP server answers there; is it the gRPC port\?"):
            asyncio.run(ask())
    finally:
        server.stop(None).wait()


@pytest.mark.parametrize("message", ["Socket closed", "Failed to connect; last error: Failed parsing HTTP/2"])
def test_the_http_port_behind_a_grpc_url_is_suspected(message: str) -> None:
    error = translate(InferenceServerException(message, status="StatusCode.UNAVAILABLE"), "model 'digits' at grpc://x")
    assert isinstance(error, ServingError) and str(error).endswith("is it the HTTP port?")


def test_labels_are_one_for_each_class() -> None:
    outputs = [{"name": "PROBABILITIES", "shape": ["-1", "2"]}]
    signature = Signature.from_server(METADATA | {"outputs": outputs}, {})
    assert signature.names(["cat", "dog"]) == ("cat", "dog")
    with pytest.raises(RequestError, match="labels: 3 of them, but model 'digits' has 2 classes"):
        signature.names(["cat", "dog", "bird"])


def _closed_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])
