"""An exported bag on the real server: what `check` says of it, and a stop under load."""

import json
import shutil
import threading
import time

import numpy as np
import onnx
import pytest
import tritonclient.grpc as grpc
from tritonclient.utils import InferenceServerException

from exeunt.contract import MANIFEST_FILE
from exeunt.errors import ConfigError
from exeunt.serving.bags import named_state_dir, served_bags
from exeunt.serving.checks.repository import check_repository
from exeunt.serving.pip_server import serve
from exeunt.serving.processes import members
from exeunt_export.export_bag import export_bag
from tests.export.tiny import tiny_bag
from tests.serving.repository import copy_with


@pytest.fixture
def copy(tiny_exported, tmp_path):
    return shutil.copytree(tiny_exported, tmp_path / "repository")


def problems(repository):
    return [str(problem) for problem in check_repository(repository).problems]


def images(rows=1):
    pixels = np.random.default_rng(7).normal(size=(rows, 1, 16, 16)).astype(np.float32)
    return [grpc.InferInput("IMAGE", list(pixels.shape), "FP32").set_data_from_numpy(pixels)]


def test_what_export_writes_passes_the_check(tiny_exported):
    assert problems(tiny_exported) == []


def test_an_engine_repository_of_one_member_passes_the_check(tmp_path):
    export_bag(tiny_bag(tmp_path, mode="engine", members=1), tmp_path / "repository")
    assert problems(tmp_path / "repository") == []
    (tmp_path / "repository" / "tiny_exit" / "1" / "tiny_a_s1.onnx").write_bytes(b"")
    assert any("tiny_a_s1.onnx cannot be loaded" in problem for problem in problems(tmp_path / "repository"))


def test_another_members_weights_are_found_by_the_chain(copy):
    path = copy / "tiny_a" / "1" / "model.onnx"
    model = onnx.load(str(path))
    weights = max(model.graph.initializer, key=lambda item: len(item.raw_data))
    weights.raw_data = (np.frombuffer(weights.raw_data, np.float32) * 2).tobytes()
    onnx.save(model, str(path))
    assert any("tiny_a/1/model.onnx: differs by" in problem for problem in problems(copy))


def test_a_missing_model_of_the_bag_is_found(copy):
    shutil.rmtree(copy / "tiny_heads_e0")
    complaints = problems(copy)
    assert any("tiny_heads_e0/config.pbtxt: no such file; bag 'tiny' has this model" in answer for answer in complaints)
    assert any("calls model 'tiny_heads_e0'" in answer for answer in complaints)


def test_two_exit_controllers_are_refused(copy):
    config = copy / "tiny_exit" / "config.pbtxt"
    config.write_text(config.read_text().replace("count: 1", "count: 2"))
    assert any("instance_group: must be one group of one instance" in problem for problem in problems(copy))


def test_a_manifest_of_other_tensors_is_found(copy):
    path = copy / "tiny_exit" / "1" / MANIFEST_FILE
    table = json.loads(path.read_text())
    table["inputs"][0]["dims"] = [1, 15, 15]
    path.write_text(json.dumps(table))
    assert any("tiny/config.pbtxt: input 'IMAGE': is TYPE_FP32 [1, 16, 16]" in problem for problem in problems(copy))


def test_an_input_that_only_an_early_tap_needs_is_refused(copy):
    config = copy / "tiny_bag" / "config.pbtxt"
    text = config.read_text()
    # the last tap no longer leads back to the image: only to its ticket
    last = text.rindex('model_name: "tiny_exit"')
    ticket = text[last:].replace('value: "a.', 'value: "gone.').replace('value: "b.', 'value: "gone.')
    config.write_text(text[:last] + ticket)
    assert any("input 'IMAGE': does not lead to TAP_" in problem for problem in problems(copy))


def test_a_missing_calibration_is_found(copy):
    (copy / "tiny_exit" / "1" / "calibration.npz").unlink()
    assert any("calibration.npz: no such file" in problem for problem in problems(copy))


def test_parameters_of_the_config_override_the_manifest(tiny_exported, tmp_path):
    copy = copy_with(tiny_exported, tmp_path / "copy", max_tickets="3", state_dir=str(tmp_path / "state"))
    (bag,) = served_bags(copy)
    assert bag.settings.max_tickets == 3
    assert bag.pinned and named_state_dir([bag]) is None


def test_a_parameter_that_is_no_setting_is_refused_by_file(tiny_exported, tmp_path):
    copy = copy_with(tiny_exported, tmp_path / "copy", max_ticket="3")
    with pytest.raises(ConfigError, match=r"tiny_exit/config\.pbtxt: parameters: .*did you mean 'max_tickets'"):
        served_bags(copy)


def test_an_option_that_its_tuner_does_not_know_is_found_without_a_server(copy):
    config = copy / "tiny_exit" / "config.pbtxt"
    message = 'parameters { key: "tuner_options" value { string_value: "{\\"thresholdz\\": [0.5]}" } }\n'
    config.write_text(config.read_text() + message)
    assert any("did you mean 'thresholds'" in problem for problem in problems(copy))


@pytest.mark.parametrize(
    ("batching", "message"),
    [
        ("dynamic_batching { }", "dynamic_batching: is set; a tap would wait for others"),
        ("sequence_batching { }", "sequence_batching: is set; the controller batches by itself"),
    ],
)
def test_batching_before_the_controller_of_an_ensemble_mode_bag_is_refused(copy, batching, message):
    config = copy / "tiny_exit" / "config.pbtxt"
    config.write_text(config.read_text() + batching)
    assert any(message in problem for problem in problems(copy))


@pytest.mark.parametrize("delay", ["", "max_queue_delay_microseconds: 100"])
def test_requests_of_an_engine_bag_are_batched_before_the_controller_and_never_delayed(tmp_path, delay):
    repository = export_bag(tiny_bag(tmp_path, mode="engine", members=2), tmp_path / "repository").output
    config = repository / "tiny_exit" / "config.pbtxt"
    batched = config.read_text()
    assert "dynamic_batching {" in batched
    config.write_text(batched.replace("dynamic_batching {", f"dynamic_batching {{ {delay}"))
    assert any("would wait before the controller" in problem for problem in problems(repository)) == bool(delay)


@pytest.mark.triton
def test_a_stop_under_load_loses_nothing_and_leaves_nothing(triton, tiny_exported, tmp_path):
    answered, refused, odd = [], [], []
    server_stopped = threading.Event()

    def ask(url):
        with grpc.InferenceServerClient(url) as client:
            while not server_stopped.is_set():
                try:
                    answered.append(client.infer("tiny", images(4), parameters={"exit": "never"}).as_numpy("LABEL"))
                except InferenceServerException as error:
                    (refused if error.status() == "StatusCode.UNAVAILABLE" else odd).append(str(error))

    with serve(tiny_exported, state_dir=tmp_path / "state") as server:
        clients = [threading.Thread(target=ask, args=(server.grpc_url,)) for _ in range(6)]
        for client_ in clients:
            client_.start()
        while len(answered) < 20 and not odd:
            time.sleep(0.01)
    server_stopped.set()
    for client_ in clients:
        client_.join()
    assert odd == []
    assert len({answer.tobytes() for answer in answered}) == 1  # the same rows, the same labels, to the end
    assert any("the server is stopping" in answer for answer in refused)
    assert server.drained
    assert members(server.pid) == []
    assert not list((tmp_path / "state").glob("*.drain*"))


@pytest.mark.triton
def test_a_second_server_cannot_take_the_state_of_a_running_one(triton, tiny_server, tiny_exported):
    refused = pytest.raises(ConfigError, match="another server of this bag")
    with refused, serve(tiny_exported, state_dir=tiny_server.state_dir):
        pass
