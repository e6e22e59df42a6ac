"""The container's supervisor: on the real server, and the parts that need none."""

import dataclasses
import http.client
import json
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from tritonclient import grpc

from exeunt.errors import ConfigError, ServingError
from exeunt.measuring.perf_metrics import exits_of
from exeunt.serving.bags import bag_names, some_bags
from exeunt.serving.container import command, main, options
from exeunt.serving.probe import main as probe_main
from exeunt.serving.probe import probe
from exeunt.serving.watch import Watch
from tests.deploy.container import running_container, until
from tests.export.graphs import noise_rows
from tests.export.tiny import tiny_bag


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """One process and no baseline: a container that starts quickly; supervisors know no modes."""
    pytest.importorskip("onnxscript", reason="pip install 'exeunt[export]'")
    from exeunt_export.bagfile.bagfile import BagFile
    from exeunt_export.export_bag import export_bag

    folder = tmp_path_factory.mktemp("engine")
    bag = BagFile.read(tiny_bag(folder, mode="engine", members=2))
    plain = dataclasses.replace(bag, serving=dataclasses.replace(bag.serving, baseline=False))
    export_bag(plain, folder / "repository")
    return folder / "repository"


@pytest.fixture(scope="module")
def container(triton, repository, tmp_path_factory):
    with running_container(repository, tmp_path_factory.mktemp("container")) as running:
        yield running


def answers(*outcomes):
    """A watchdog's inference that goes as told, True for an answer."""
    items = iter(outcomes)

    def ask():
        if not next(items):
            raise ServingError("silence")

    return ask


def watch(*outcomes):
    return Watch(os.getpgid(0), answers(*outcomes), lambda line: None, probe_failures=3)


def test_the_watch_waits_for_the_first_answer():
    watched = watch(False, False, False, False, True)
    assert [watched.look(threading.Event()) for _ in range(5)] == [""] * 5
    assert watched.ready


def test_the_watch_gives_up_after_failures_in_a_row():
    watched = watch(True, False, False, True, False, False, False)
    assert [watched.look(threading.Event()) for _ in range(7)] == [""] * 6 + ["silence"]


@pytest.mark.parametrize("arguments", [[], [""], ["x"], ["/"], ["model/1/model.onnx"]])
def test_a_backend_process_with_any_arguments_can_be_looked_at(arguments):
    line = ["triton_python_backend_stub", *arguments]
    process = subprocess.Popen(line, executable=sys.executable, start_new_session=True, stdin=subprocess.PIPE)
    watched = Watch(process.pid, lambda: None, lambda line: None, ready=True)
    assert isinstance(watched.lost_process(), str)
    process.kill()
    process.communicate()


def test_a_process_that_ends_is_named():
    process = subprocess.Popen(["sleep", "100"], start_new_session=True)
    watched = Watch(process.pid, lambda: None, lambda line: None, ready=True)
    assert watched.lost_process() == ""
    process.kill()
    process.wait()
    assert watched.lost_process() == f"a process of the server has ended: sleep ({process.pid})"


def test_a_process_that_ends_while_an_inference_waits_for_it_is_named():
    process, ended = subprocess.Popen(["sleep", "100"], start_new_session=True), threading.Event()

    def ask():
        process.kill()
        process.wait()
        ended.wait()

    watched = Watch(process.pid, ask, lambda line: None, ready=True)
    assert watched.lost_process() == ""
    assert watched.look(threading.Event()) == f"a process of the server has ended: sleep ({process.pid})"
    ended.set()


def test_a_repository_without_a_bag_is_the_operators_to_fill(tmp_path, capsys):
    assert main([f"--repository={tmp_path}", f"--state-dir={tmp_path}"]) == ConfigError.exit_code
    assert "`exeunt export` writes one" in capsys.readouterr().err


def test_the_thread_pool_is_larger_than_the_tickets(repository):
    manifests = some_bags(repository)
    line = command(options([f"--repository={repository}"]), manifests, "name")
    pool = next(int(item.rsplit("=", 1)[1]) for item in line if "thread-pool-size" in item)
    assert pool > manifests[0].settings.max_tickets


def test_ranked_segments_share_slots_only_where_asked(repository):
    manifests = some_bags(repository)
    plain, ranked = (command(options(extra), manifests, "name") for extra in ([], ["--rate-slots=2"]))
    assert set(ranked) - set(plain) >= {"--rate-limit=execution_count", "--rate-limit-resource=slot:2"}
    assert not any("rate-limit" in item for item in plain)


def test_a_probe_of_nobody_fails(repository, capsys):
    assert bag_names(repository) == ["tiny"]
    assert probe_main([str(repository), "--address", "127.0.0.1:1"]) == 1
    assert "127.0.0.1:1/v2/health/ready" in capsys.readouterr().err


@pytest.mark.triton
def test_the_probe_is_a_real_inference_that_waits_for_the_full_vote(container):
    assert probe(f"127.0.0.1:{container.ports.http}", "tiny").startswith("tiny: alive, label ")
    until(lambda: _reasons(container.ports.metrics) == {"full"}, 10)


@pytest.mark.triton
def test_control_protocols_are_shut_and_inference_is_open(container):
    status, answer = _get(container.ports.http, "/v2/repository/index", "POST")
    assert status != 200 and "restricted" in answer
    assert _get(container.ports.http, "/v2/models/tiny")[0] == 200


@pytest.mark.triton
def test_a_dead_exit_controller_ends_the_container_so_that_it_is_restarted(triton, repository, tmp_path):
    with running_container(repository, tmp_path) as running:
        os.kill(running.stub_of("tiny_exit"), signal.SIGKILL)
        assert running.process.wait(60) == ServingError.exit_code
        assert "the backend process of model tiny_exit" in running.said()[-1]


@pytest.mark.triton
def test_sigterm_under_load_loses_nothing_that_was_accepted(triton, repository, tmp_path):
    rows = noise_rows(1, 3, 16)
    outcomes: list[str] = []
    with running_container(repository, tmp_path) as running:
        threads = [threading.Thread(target=_ask_on, args=(running.ports.grpc, rows, outcomes)) for _ in range(4)]
        for thread in threads:
            thread.start()
        until(lambda: outcomes.count("answered") > 40, 30)
        running.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(60)
        assert running.process.wait(60) == 0
        assert running.said()[-2:] == ["draining", "drained"]
    assert set(outcomes) == {"answered", "StatusCode.UNAVAILABLE"}


def _ask_on(port: int, rows: np.ndarray, outcomes: list[str]) -> None:
    """Ask until refused, then note why."""
    with grpc.InferenceServerClient(f"127.0.0.1:{port}") as client:
        tensor = grpc.InferInput("IMAGE", list(rows.shape), "FP32")
        tensor.set_data_from_numpy(rows)
        while True:
            try:
                client.infer("tiny", [tensor], client_timeout=30)
            except grpc.InferenceServerException as error:
                outcomes.append(error.status())
                return
            outcomes.append("answered")


def _reasons(port: int) -> set[str]:
    """Reasons that the controller has counted answers for."""
    answers = exits_of(_get(port, "/metrics")[1], "tiny").answers
    return {reason for (_, reason), rows in answers.items() if rows}


def _get(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, json.dumps({}) if method == "POST" else None)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text
