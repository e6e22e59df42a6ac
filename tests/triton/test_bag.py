"""A whole bag in ensemble mode on the real server: the contract of the public model."""

import json
import re
import shutil
import time
import urllib.request
from collections import Counter

import numpy as np
import pytest
from tritonclient import grpc

from exeunt.contract import ANSWER_DTYPES, Reason
from exeunt.measuring.server_times import read_times
from exeunt.serving.pip_server import serve
from exeunt_export.writing.native import NativeOptions, adapt_configs
from tests.export.graphs import noise_rows
from tests.triton.calls import ask, await_idle, controlled, manifest_of, vote_offline

pytestmark = pytest.mark.triton
ROWS = noise_rows(6, 7, 16)
BOTH = pytest.mark.parametrize("protocol", ["http", "grpc"])


@BOTH
def test_a_plain_infer_gets_every_output_in_the_contracts_dtype_and_shape(tiny_server, protocol):
    outputs = ask(tiny_server, protocol, ROWS)
    assert {name: str(array.dtype) for name, array in outputs.items()} == ANSWER_DTYPES
    shapes = {name: array.shape for name, array in outputs.items()}
    assert shapes == {"PROBABILITIES": (6, 8), "LABEL": (6, 1), "EXIT": (6, 1), "REASON": (6, 1), "RISK": (6, 1)}


@BOTH
def test_with_thresholds_1_every_answer_is_exit_0s_vote_as_computed_offline(tiny_server, tiny_exported, protocol):
    for _ in range(30):  # on a busy machine a later exit's vote may overtake, and answers then
        outputs = ask(tiny_server, protocol, ROWS)
        if (outputs["EXIT"] == 0).all():
            break
    assert (outputs["EXIT"] == 0).all() and (outputs["REASON"] == Reason.EARLY).all()
    expected = vote_offline(tiny_exported, 0, ROWS)
    np.testing.assert_allclose(outputs["PROBABILITIES"], expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(outputs["LABEL"][:, 0], expected.argmax(axis=1))


def test_with_thresholds_0_and_no_lossless_stop_every_answer_is_the_full_vote(triton, tiny_exported, tmp_path):
    repository = tmp_path / "repository"
    shutil.copytree(tiny_exported, repository)
    config = repository / "tiny_exit" / "config.pbtxt"
    message = 'parameters { key: "tuner_options" value { string_value: "{\\"thresholds\\": [0.0]}" } }\n'
    config.write_text(config.read_text() + message)
    last = len(manifest_of(repository).exits) - 1
    with serve(repository, state_dir=tmp_path / "state") as server:
        for protocol in ("http", "grpc"):
            outputs = ask(server, protocol, ROWS)
            assert (outputs["EXIT"] == last).all() and (outputs["REASON"] == Reason.FULL).all()
            np.testing.assert_allclose(
                outputs["PROBABILITIES"], vote_offline(repository, last, ROWS), rtol=1e-4, atol=1e-6
            )


@BOTH
def test_with_all_exits_off_every_answer_is_the_full_vote_at_the_last_exit(tiny_server, tiny_exported, protocol):
    with controlled(tiny_server, tiny_exported, exits_off="all"):
        outputs = ask(tiny_server, protocol, ROWS)
    last = len(manifest_of(tiny_exported).exits) - 1
    assert (outputs["EXIT"] == last).all() and (outputs["REASON"] == Reason.FULL).all()
    expected = vote_offline(tiny_exported, last, ROWS)
    np.testing.assert_allclose(outputs["PROBABILITIES"], expected, rtol=1e-4, atol=1e-6)


@BOTH
def test_the_baseline_says_what_the_full_vote_says(tiny_server, tiny_exported, protocol):
    full = ask(tiny_server, protocol, ROWS, model="tiny_full")
    without_exits = ask(tiny_server, protocol, ROWS, exit="never")
    np.testing.assert_allclose(full["PROBABILITIES"], without_exits["PROBABILITIES"], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(full["LABEL"], without_exits["LABEL"])
    assert (without_exits["REASON"] == Reason.FULL).all()


def test_heads_and_taps_of_an_exit_that_is_off_do_not_run_but_segments_always_do(tiny_server, tiny_exported):
    manifest = manifest_of(tiny_exported)
    with controlled(tiny_server, tiny_exported, exits_off=(0,)):
        await_idle(tiny_server)
        before = read_times(f"http://{tiny_server.http_url}")
        for _ in range(5):
            ask(tiny_server, "grpc", ROWS)
        await_idle(tiny_server)
        after = read_times(f"http://{tiny_server.http_url}")
    ran = {model: after[model].requests - before[model].requests for model in after}
    assert ran[manifest.exits[0].heads] == 0
    assert ran[manifest.exits[1].heads] == 5
    taps = ran["tiny_exit"] - 5  # the clients' own five come through the same door
    assert taps == 5 * (len(manifest.exits) - 1)
    assert all(ran[segment.model] == 5 for member in manifest.members for segment in member.segments)


@BOTH
def test_label_names_come_through_tritons_classification_extension(tiny_server, protocol):
    from tests.triton.calls import PROTOCOLS

    kind = PROTOCOLS[protocol]
    url = tiny_server.grpc_url if protocol == "grpc" else tiny_server.http_url
    with kind.InferenceServerClient(url) as client:
        image = kind.InferInput("IMAGE", list(ROWS.shape), "FP32")
        image.set_data_from_numpy(ROWS)
        outputs = [kind.InferRequestedOutput("PROBABILITIES", class_count=1), kind.InferRequestedOutput("LABEL")]
        result = client.infer("tiny", [image], outputs=outputs)
        top = [text.decode().split(":") for text in result.as_numpy("PROBABILITIES")[:, 0]]
    np.testing.assert_array_equal([int(index) for _, index, _ in top], result.as_numpy("LABEL")[:, 0])
    assert [name for _, _, name in top] == [index for _, index, _ in top]  # the tiny bag's labels are its numbers


def test_a_request_may_ask_for_some_outputs_and_gets_its_id_back(tiny_server):
    with grpc.InferenceServerClient(tiny_server.grpc_url) as client:
        image = grpc.InferInput("IMAGE", list(ROWS.shape), "FP32")
        image.set_data_from_numpy(ROWS)
        result = client.infer("tiny", [image], outputs=[grpc.InferRequestedOutput("LABEL")], request_id="abc")
        response = result.get_response()
    assert response.id == "abc" and [output.name for output in response.outputs] == ["LABEL"]


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"max_risk": -1.0}, "max_risk"),
        ({"deadline_ms": "soon"}, "deadline_ms"),
        ({"exit": "early"}, "exit"),
        ({"service_class": "gold"}, "service_class"),
    ],
)
@BOTH
def test_a_parameter_that_is_not_allowed_is_refused_by_name(tiny_server, protocol, parameters, words):
    with pytest.raises(Exception, match=f"parameter {words}: expected"):
        ask(tiny_server, protocol, ROWS, **parameters)


def test_metrics_count_every_answer_by_exit_and_reason(tiny_server):
    def answered() -> Counter[tuple[str, str]]:
        text = urllib.request.urlopen(tiny_server.metrics_url).read().decode()
        series = re.findall(r'exeunt_answers_total{bag="tiny",exit="(\d+)",reason="(\w+)"} (\S+)', text)
        return Counter({(exit_, reason): int(float(value)) for exit_, reason, value in series if float(value)})

    await_idle(tiny_server)
    before = None
    while (now := answered()) != before:  # metrics follow about once a second: what was answered before counts first
        before = now
        time.sleep(2.5)
    outputs = ask(tiny_server, "grpc", ROWS)
    result = zip(outputs["EXIT"][:, 0].tolist(), outputs["REASON"][:, 0].tolist(), strict=True)
    expected = before + Counter((str(exit_), Reason(reason).name.lower()) for exit_, reason in result)
    end = time.monotonic() + 60
    while answered() != expected:
        assert time.monotonic() < end
        time.sleep(0.1)


def test_the_public_model_describes_itself_by_the_v2_protocol(tiny_server):
    with urllib.request.urlopen(f"http://{tiny_server.http_url}/v2/models/tiny") as reply:
        metadata = json.load(reply)
    assert [(item["name"], item["datatype"], item["shape"]) for item in metadata["inputs"]] == [
        ("IMAGE", "FP32", [-1, 1, 16, 16])
    ]
    assert {item["name"] for item in metadata["outputs"]} == set(ANSWER_DTYPES)


def test_ranked_segments_in_one_slot_answer_as_the_others_do(triton, tiny_exported, tmp_path):
    repository = tmp_path / "repository"
    shutil.copytree(tiny_exported, repository)
    manifest = manifest_of(repository)
    assert adapt_configs(repository, manifest, NativeOptions(rank_segments=True))
    with serve(repository, state_dir=tmp_path / "state", rate_slots=1) as server:
        answers = [ask(server, "http", ROWS, **wish) for wish in ({"exit": "never"}, {}, {}, {})]
    for answer in answers:
        (exit_,) = set(answer["EXIT"][:, 0].tolist())
        expected = vote_offline(repository, exit_, ROWS)
        np.testing.assert_allclose(answer["PROBABILITIES"], expected, rtol=1e-4, atol=1e-6)
