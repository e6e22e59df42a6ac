"""Faults on the real server: a failing segment, NaN, deadlines. (A stop under load: test_serving_bag.py.)"""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn
from tritonclient.utils import InferenceServerException

from exeunt.contract import Reason
from exeunt.measuring.server_times import read_times
from exeunt.serving.pip_server import serve
from exeunt_export.export_bag import export_bag
from exeunt_export.torch_modules import save_module
from tests.export.graphs import noise_rows
from tests.export.tiny import tiny_bag
from tests.triton.calls import ask, await_idle, manifest_of, override, vote_offline

pytestmark = pytest.mark.triton
ROWS = noise_rows(2, 5, 16)
POISON = 1e6  # a pixel of this size makes the brittle member fail, late

OPTIONS = 'tuner = "static"\ntuner_options = { thresholds = [1.0] }\nlossless = false\nshadow_share = 0.0'
STATIC = {  # the same, of a bag that was exported to learn
    "learn_ramps": "false",
    "tuner": "static",
    "tuner_options": '{"thresholds": [1.0]}',
    "lossless": "false",
    "shadow_share": "0.0",
}


class Brittle(nn.Module):
    """Looks up a table out of its bounds when a value is huge: onnxruntime refuses to run that."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(2))

    def forward(self, x):
        return x + self.table[(x.amax(dim=(1, 2, 3)) > POISON / 1000).long() * 1000][:, None, None, None]


def slow_and_brittle():
    """About 20 ms a row, failing at its very end."""
    torch.manual_seed(3)
    layers = [nn.Conv2d(1, 48, 3, padding=1), nn.ReLU()]
    for _ in range(60):
        layers += [nn.Conv2d(48, 48, 3, padding=1), nn.ReLU()]
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
    return nn.Sequential(*layers, Brittle(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * 48, 8)).eval()


@pytest.fixture(scope="module", params=["ensemble", "engine", "heads at the taps", "stages inside members"])
def repository(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    at_taps, inside = request.param == "heads at the taps", request.param == "stages inside members"
    table = "learn_ramps = true" if at_taps else OPTIONS
    how = {"exit_table": table, "mode": "engine" if request.param == "engine" else "ensemble"}
    if inside:
        how |= {"exit_table": table + '\ngear = "stages"', "schedule": "cascade", "cuts": 'stages = "exits"'}
    path = tiny_bag(folder, members=2, **how)
    path.write_text(path.read_text().replace("max_batch_size = 16", "max_batch_size = 4"))
    np.save(folder / "samples.npy", noise_rows(60, 0, 16))
    save_module(slow_and_brittle(), {"IMAGE": ROWS}, folder / "b.onnx")
    export_bag(path, folder / "repository")
    return override(folder / "repository", **STATIC) if at_taps else folder / "repository"


@pytest.fixture(scope="module")
def server(triton, repository, tmp_path_factory):
    with serve(repository, state_dir=tmp_path_factory.mktemp("state")) as running:
        yield running


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_failing_segment_reaches_the_client_by_name_and_the_next_request_is_answered(server, repository, protocol):
    brittle = manifest_of(repository).members[1].segments[-1].model
    with pytest.raises(InferenceServerException, match=brittle):
        ask(server, protocol, ROWS + np.float32(POISON), exit="never")
    assert (ask(server, protocol, ROWS, exit="never")["REASON"] == Reason.FULL).all()
    await_idle(server)


def test_a_row_with_nan_waits_for_the_full_vote_and_its_batch_mates_do_not_mind(server, repository):
    rows = ROWS.copy()
    rows[0, 0, 0, 0] = np.nan
    end = time.monotonic() + 60
    while time.monotonic() < end:  # the full vote may overtake an exit, and after a failure it alone is asked for
        outputs = ask(server, "grpc", rows)
        assert outputs["REASON"][0] == Reason.FULL
        if outputs["REASON"][1] == Reason.EARLY:
            break
    assert outputs["REASON"][1] == Reason.EARLY
    expected = vote_offline(repository, int(outputs["EXIT"][1, 0]), ROWS[1:])
    np.testing.assert_allclose(outputs["PROBABILITIES"][1], expected[0], rtol=1e-4, atol=1e-6)


def test_a_deadline_gets_the_best_vote_so_far_marked(server, repository):
    last = len(manifest_of(repository).exits) - 1
    shortest, longest = 1.0, 200.0  # what was refused, what was enough for the full vote
    for _ in range(100):  # look for one between the first vote and the last, on a machine of any speed
        deadline_ms = (shortest * longest) ** 0.5
        try:
            outputs = ask(server, "grpc", ROWS, exit="never", deadline_ms=deadline_ms)
        except InferenceServerException as refusal:
            assert "deadline_ms passed" in str(refusal)
            shortest = deadline_ms
        else:
            if (outputs["REASON"] == Reason.DEADLINE).all():
                break
            assert (outputs["REASON"] == Reason.FULL).all()
            longest = deadline_ms
        if longest < 1.05 * shortest:  # the machine's pace has changed meanwhile
            shortest, longest = 1.0, 200.0
    assert (outputs["REASON"] == Reason.DEADLINE).all()
    assert (outputs["EXIT"] < last).all()


def test_a_deadline_before_any_vote_is_unavailable(server):
    with pytest.raises(InferenceServerException, match="deadline_ms passed") as refusal:
        ask(server, "grpc", ROWS, deadline_ms=0.01)
    assert "UNAVAILABLE" in refusal.value.status()
    await_idle(server)


def test_tritons_statistics_show_early_answers_below_the_time_of_the_members(server, repository):
    manifest = manifest_of(repository)
    in_one_call = manifest.mode == "ensemble" and not manifest.inner_stages
    whole = "tiny_bag" if in_one_call else "tiny_full"
    await_idle(server)
    first = last = read_times(f"http://{server.http_url}")
    early_us: list[float] = []
    request_count, end = 0, time.monotonic() + 120
    while len(early_us) < 10:  # on a busy machine the full vote may overtake an exit: such requests tell nothing
        early = (ask(server, "grpc", ROWS)["REASON"] == Reason.EARLY).all()
        before, request_count = last["tiny"], request_count + 1
        while last["tiny"].requests == before.requests:  # counted soon after the answer
            assert time.monotonic() < end
            time.sleep(0.02)
            last = read_times(f"http://{server.http_url}")
        if early:
            early_us.append((last["tiny"] - before).wall_us)
        time.sleep(0.2)  # this is about one request, not about load
        ask(server, "grpc", ROWS, model="tiny_full")
    await_idle(server)
    spent = {model: times - first[model] for model, times in read_times(f"http://{server.http_url}").items()}
    assert spent["tiny"].requests == spent[whole].requests == request_count
    # the least of ten: a caller whose time were counted until the members have ended would lie above their mean
    assert min(early_us) < spent[whole].wall_us / request_count


def test_a_request_that_fails_a_member_fails_nobody_else(server, repository):
    kinds = [number % 3 == 0 for number in range(24)]  # a third of them fail the member

    def send(poisoned):
        rows = ROWS[:1] + np.float32(POISON) if poisoned else ROWS[:1]
        try:
            return ask(server, "grpc", rows, exit="never")["REASON"].ravel().tolist()
        except InferenceServerException as error:
            return str(error)

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(send, kinds))
    brittle = manifest_of(repository).members[1].segments[-1].model
    for poisoned, answer in zip(kinds, answers, strict=True):
        assert (brittle in answer) if poisoned else answer == [Reason.FULL]
    await_idle(server)
