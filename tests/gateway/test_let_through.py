"""What the gateway lets through comes back as if the server itself had been asked."""

import json
import time
import urllib.request

import numpy as np
import pytest
from tritonclient import grpc, http
from tritonclient.utils import InferenceServerException

from exeunt.contract import ANSWER_DTYPES
from exeunt_client import Client, RequestOptions
from tests.export.graphs import noise_rows
from tests.gateway.running import Gateway
from tests.triton.calls import ask
from tests.triton.qa.wire import binary, call, infer, tensor

pytestmark = pytest.mark.triton
ROWS = noise_rows(4, 5, 16)
BOTH = pytest.mark.parametrize("protocol", ["http", "grpc"])


@BOTH
@pytest.mark.parametrize("parameters", [{}, {"service_class": "gold"}, {"deadline_ms": 60_000}])
def test_answers_are_the_servers_bit_by_bit(gateway, gated_server, protocol, parameters):
    straight, through = (ask(url, protocol, ROWS, exit="never", **parameters) for url in (gated_server, gateway))
    assert set(through) == set(ANSWER_DTYPES)
    for name in ("PROBABILITIES", "LABEL", "EXIT", "REASON"):
        np.testing.assert_array_equal(through[name], straight[name])


def test_json_is_answered_as_by_the_server_bit_by_bit(gateway, gated_server):
    request = {"id": "7", "inputs": [tensor(ROWS)], "parameters": {"exit": "never"}}
    answers = [infer(url, request) for url in (gateway.http_url, gated_server.http_url)]
    assert answers[0] == answers[1] and answers[0][0] == 200


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_requests_and_answers_pass(gateway, gated_server, algorithm):
    image = http.InferInput("IMAGE", list(ROWS.shape), "FP32").set_data_from_numpy(ROWS)
    with http.InferenceServerClient(gateway.http_url) as client:
        result = client.infer(
            "tiny",
            [image],
            parameters={"exit": "never"},
            request_compression_algorithm=algorithm,
            response_compression_algorithm=algorithm,
        )
    expected = ask(gated_server, "http", ROWS, exit="never")["PROBABILITIES"]
    np.testing.assert_array_equal(result.as_numpy("PROBABILITIES"), expected)


def test_a_body_that_waits_for_the_servers_word_is_asked_for(gateway):
    table, raw = binary(ROWS)
    head = json.dumps(table).encode()
    headers = {"Expect": "100-continue", "Inference-Header-Content-Length": str(len(head))}
    status, _ = call(gateway.http_url, "POST", "/v2/models/tiny/infer", head + raw, headers)
    assert status == 200


def test_rows_of_a_stream_come_once_each(gateway):
    with Client(f"grpc://{gateway.grpc_url}", "tiny") as client:
        rows = np.concatenate([part.rows for part in client.stream(noise_rows(16, 7, 16))])
    assert sorted(rows.tolist()) == list(range(16))


def test_many_requests_on_one_stream_are_answered_by_their_ids(gateway):
    replies = {}
    with grpc.InferenceServerClient(gateway.grpc_url) as client:
        client.start_stream(lambda result, error: replies.update({result.get_response().id: (result, error)}))
        for number in range(50):
            image = grpc.InferInput("IMAGE", [1, 1, 16, 16], "FP32").set_data_from_numpy(ROWS[number % 4][None])
            client.async_stream_infer("tiny", [image], request_id=str(number), parameters={"exit": "never"})
        client.stop_stream()
    assert sorted(map(int, replies)) == list(range(50)) and not any(error for _, error in replies.values())
    labels = [int(replies[str(number)][0].as_numpy("LABEL")[0, 0]) for number in range(4)]
    with Client(f"grpc://{gateway.grpc_url}", "tiny") as client:
        assert labels == client.infer(ROWS, RequestOptions(exit="never")).labels.tolist()


@BOTH
def test_health_metadata_statistics_and_config_are_told(gateway, gated_server, protocol):
    kind, url = (http, gateway.http_url) if protocol == "http" else (grpc, gateway.grpc_url)
    with kind.InferenceServerClient(url) as client:
        assert client.is_server_live() and client.is_server_ready()
        for model in ("tiny", "tiny_stream"):
            assert client.is_model_ready(model) and client.is_model_ready(model, "1")
            assert "IMAGE" in str(client.get_model_metadata(model))
            assert model in str(client.get_inference_statistics(model))
        assert gated_server.name in str(client.get_server_metadata())
        assert "IMAGE" in str(config := client.get_model_config("tiny")) and "tiny_exit" not in str(config)


def test_the_health_service_of_grpc_is_told(gateway):
    import grpc as plain

    with plain.insecure_channel(gateway.grpc_url) as channel:
        assert channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=60) == b"\x08\x01"  # SERVING


@BOTH
def test_the_servers_own_errors_come_back(gateway, gated_server, protocol):
    errors = []
    for server in (gateway, gated_server):
        with pytest.raises(InferenceServerException) as caught:
            ask(server, protocol, ROWS[:, :, :8])
        errors.append((caught.value.status(), caught.value.message()))
    assert errors[0] == errors[1] and "IMAGE" in errors[0][1]


def test_the_plain_ensemble_is_public_where_it_was_asked_for(gated_server, gated_repository):
    with Gateway.before(gated_server, gated_repository, "--full") as gateway:
        assert gateway.models == ["tiny", "tiny_stream", "tiny_full"]
        assert (ask(gateway, "grpc", ROWS, model="tiny_full")["LABEL"] >= 0).all()


def promised_losses(server, name):
    """What the promise has allowed a class of service so far: it grows with every answer of that class."""
    with urllib.request.urlopen(server.metrics_url) as answer:
        lines = answer.read().decode().splitlines()
    family = "exeunt_class_promised_losses_total"
    return sum(float(line.split()[-1]) for line in lines if line.startswith(family) and f'="{name}"' in line)


@BOTH
@pytest.mark.parametrize("options", [("--service-class", "gold"), ("--class-header", "X-Class")])
def test_the_gateway_says_the_class_of_service(gated_server, gated_repository, protocol, options):
    before = promised_losses(gated_server, "gold")
    kind = {"http": http, "grpc": grpc}[protocol]
    image = kind.InferInput("IMAGE", list(ROWS.shape), "FP32").set_data_from_numpy(ROWS)
    with Gateway.before(gated_server, gated_repository, *options) as gateway:
        url = gateway.http_url if protocol == "http" else gateway.grpc_url
        with kind.InferenceServerClient(url) as client:
            # the class that the parameter names is not there: it must not count
            client.infer("tiny", [image], headers={"x-class": "gold"}, parameters={"service_class": "nobodys"})
    end = time.monotonic() + 60
    while promised_losses(gated_server, "gold") == before:
        assert time.monotonic() < end, "no answer was counted for the class"
        time.sleep(0.1)
