"""Strangers who call the internal models of a real server: they change no answer, and are seen."""

import threading
import time
import urllib.request

import numpy as np
import pytest
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

from exeunt.contract import Reason, bag_model, exit_model, tap_name
from exeunt.serving.pip_server import serve
from exeunt_export.export_bag import export_bag
from tests.export.graphs import noise_rows
from tests.export.tiny import tiny_bag
from tests.triton.calls import ask, manifest_of, vote_offline

pytestmark = pytest.mark.triton
ROWS = noise_rows(4, 5, 16)


def exported(mode, folder):
    export_bag(tiny_bag(folder, mode=mode, members=2, exit_table='tuner = "static"'), folder / "repository")
    return folder / "repository"


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return exported("ensemble", tmp_path_factory.mktemp("strangers"))


@pytest.fixture(scope="module")
def server(triton, repository, tmp_path_factory):
    with serve(repository, state_dir=tmp_path_factory.mktemp("state")) as running:
        yield running


def tensor(name, array, dtype):
    infer_input = grpc.InferInput(name, list(array.shape), dtype)
    infer_input.set_data_from_numpy(array)
    return infer_input


def forge(client, manifest, ticket, rows=4):
    """Votes for class 0 from every member at every depth that votes, under a made-up ticket."""
    certain = np.zeros((rows, manifest.classes), dtype=np.float32)
    certain[:, 0] = 1.0
    inputs = [tensor("TICKET", np.full((rows, 1), ticket, dtype=np.int64), "INT64")]
    for exit_ in manifest.exits[-1:]:
        for member, depth in zip(manifest.members, exit_.depths, strict=True):
            inputs.append(tensor(f"{member.name}.{depth}", certain, "FP32"))
    return client.infer(exit_model(manifest.bag), inputs)


def refused_taps(server):
    with urllib.request.urlopen(server.metrics_url) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("exeunt_refused_taps_total"))


def test_forged_votes_change_no_answer_and_are_counted(server, repository):
    manifest = manifest_of(repository)
    last = len(manifest.exits) - 1
    expected = vote_offline(repository, last, ROWS)
    stop, forged = threading.Event(), []

    def attack():
        with grpc.InferenceServerClient(server.grpc_url) as client:
            for ticket in range(10_000):
                if stop.is_set():
                    return
                forged.append(forge(client, manifest, ticket % 300).as_numpy("TAPPED"))

    attacker = threading.Thread(target=attack)
    attacker.start()
    try:
        for _ in range(100):
            outputs = ask(server, "grpc", ROWS, exit="never")
            assert (outputs["REASON"] == Reason.FULL).all() and (outputs["EXIT"] == last).all()
            np.testing.assert_allclose(outputs["PROBABILITIES"], expected, rtol=1e-4, atol=1e-6)
    finally:
        stop.set()
        attacker.join()
    assert len(forged) > 20 and all(tapped is not None for tapped in forged)
    end = time.monotonic() + 60
    while refused_taps(server) < len(forged):
        assert time.monotonic() < end, (refused_taps(server), len(forged))
        time.sleep(0.1)


def test_a_tap_of_any_shape_is_answered_like_a_tap(server, repository):
    manifest = manifest_of(repository)
    with grpc.InferenceServerClient(server.grpc_url) as client:
        for rows in (1, 2, 5):
            assert forge(client, manifest, 2**62, rows).as_numpy("TAPPED").shape == (rows, 1)
    assert (ask(server, "grpc", ROWS, exit="never")["REASON"] == Reason.FULL).all()


def test_a_report_that_nobody_asked_for_is_refused_without_an_error(server, repository):
    only_ticket = [tensor("TICKET", np.zeros((1, 1), dtype=np.int64), "INT64")]
    with grpc.InferenceServerClient(server.grpc_url) as client:
        answer = client.infer(exit_model(manifest_of(repository).bag), only_ticket, parameters={"failure": "forged"})
    assert answer.as_numpy("TAPPED").tolist() == [[-1]]


def test_a_direct_call_of_the_bag_teaches_nobody_anything(server, repository):
    manifest = manifest_of(repository)
    before = refused_taps(server)
    taps = [tap_name(exit_) for exit_ in range(len(manifest.exits))]
    with grpc.InferenceServerClient(server.grpc_url) as client:
        inputs = [tensor("IMAGE", ROWS, "FP32"), tensor("TICKET", np.full((4, 1), 7, dtype=np.int64), "INT64")]
        outputs = [grpc.InferRequestedOutput(tap) for tap in taps]
        client.infer(bag_model(manifest.bag), inputs, outputs=outputs)
    end = time.monotonic() + 60
    while refused_taps(server) < before + len(taps):
        assert time.monotonic() < end
        time.sleep(0.1)


def test_in_engine_mode_there_is_no_tap_to_forge(triton, tmp_path):
    repository = exported("engine", tmp_path)
    with (
        serve(repository, state_dir=tmp_path / "state") as server,
        grpc.InferenceServerClient(server.grpc_url) as client,
    ):
        with pytest.raises(InferenceServerException, match="expected 1 inputs"):
            forge(client, manifest_of(repository), 1)
        assert (ask(server, "grpc", ROWS, exit="never")["REASON"] == Reason.FULL).all()
