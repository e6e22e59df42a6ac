"""Load tests with perf_analyzer: ranges, replay files, metrics, its files, and the real binary on the real server."""

import base64
import json

import numpy as np
import pytest

from exeunt.cli.main import main
from exeunt.errors import ConfigError, ServingError
from exeunt.measuring import perf_binary
from exeunt.measuring.perf import levels, read_csv, read_profile, write_replay
from exeunt.measuring.perf_metrics import exits_of
from tests.export.graphs import noise_rows

METRICS = """\
# TYPE exeunt_answers_total counter
exeunt_answers_total{bag="b",exit="0",reason="early"} 70
exeunt_answers_total{bag="b",exit="2",reason="full"} 20
exeunt_answers_total{bag="b",exit="1",reason="deadline"} 10
exeunt_answers_total{bag="other",exit="0",reason="early"} 5
exeunt_losses_total{bag="b"} 0.5
exeunt_abandoned_rows_total{bag="b"} 1
exeunt_refused_total{bag="b"} 3
nv_cpu_utilization 0.25
"""


@pytest.mark.parametrize(
    ("text", "expected"), [("4", [4]), ("1:3", [1, 2, 3]), ("1:16:5", [1, 6, 11, 16]), ("2.5:5:2.5", [2.5, 5])]
)
def test_a_range_is_read_as_perf_analyzer_writes_it(text, expected):
    assert levels(text, "--concurrency") == expected


@pytest.mark.parametrize("text", ["", "0", "5:1", "1:9:0", "1:2:3:4", "a", "1:1000"])
def test_a_range_that_is_none_is_refused_by_its_option(text):
    with pytest.raises(ConfigError, match="--rate"):
        levels(text, "--rate")


def test_a_short_replay_holds_the_whole_streams_mix(tmp_path):
    rows = np.arange(100, dtype=np.float32)[:, None]
    assert write_replay({"x": rows}, tmp_path / "replay.json", most=5) == 5
    data = json.loads((tmp_path / "replay.json").read_text())["data"]
    assert [np.frombuffer(base64.b64decode(item["x"]["b64"]), np.float32)[0] for item in data] == [0, 24, 49, 74, 99]


def test_inputs_that_differ_in_rows_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"\{'x': 2, 'y': 3\}"):
        write_replay({"x": np.zeros((2, 1)), "y": np.zeros((3, 1))}, tmp_path / "replay.json")


def test_exits_and_loss_are_those_of_the_bag_alone():
    exits = exits_of(METRICS, "b")
    assert exits.shares() == {"0": 0.7, "1": 0.1, "2": 0.2}
    assert exits.loss == pytest.approx(1.5 / 90)  # the deadline's rows are outside the promise
    assert (exits.refused, exits.errors) == (3, 0)


def test_what_happened_since_is_a_difference():
    before = exits_of(METRICS, "b")
    after = exits_of(METRICS.replace(" 70", " 80").replace(" 0.5", " 1.5"), "b")
    assert (after - before).shares() == {"0": 1.0, "1": 0.0, "2": 0.0}
    assert (after - before).losses == 1.0


def test_a_controller_that_has_told_nothing_has_no_exits():
    assert exits_of("", "b").shares() == {} and exits_of("", "b").loss == 0


def test_latency_and_throughput_come_from_every_request(tmp_path):
    requests = [
        {"timestamp": 0, "response_timestamps": [2_000_000]},
        {"timestamp": 1_000_000, "response_timestamps": [1_500_000, 5_000_000]},
        {"timestamp": 3_000_000, "response_timestamps": []},
    ]
    (tmp_path / "p.json").write_text(json.dumps({"experiments": [{"requests": requests}]}))
    profile = read_profile(tmp_path / "p.json")
    assert profile.latencies_us.tolist() == [2000, 4000] and profile.failed == 1
    assert profile.throughput == pytest.approx(2 / 0.005)


def test_a_run_without_an_answer_is_an_error(tmp_path):
    (tmp_path / "p.json").write_text('{"experiments": [{"requests": []}]}')
    with pytest.raises(ServingError, match="no answer"):
        read_profile(tmp_path / "p.json")


def test_the_csvs_first_line_is_read_by_column(tmp_path):
    (tmp_path / "p.csv").write_text("Concurrency,Inferences/Second,Server Queue\n1,100.5,25\n")
    assert read_csv(tmp_path / "p.csv") == {"Concurrency": 1, "Inferences/Second": 100.5, "Server Queue": 25}


def test_without_perf_analyzer_the_error_says_where_to_get_it(tmp_path, monkeypatch):
    monkeypatch.delenv(perf_binary.VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="exeunt perf --fetch"):
        perf_binary.find(tmp_path)


@pytest.fixture
def analyzer():
    try:
        return perf_binary.find()
    except ConfigError as error:
        pytest.skip(str(error))


@pytest.mark.triton
def test_the_real_perf_analyzer_and_the_exits_end_in_one_report(analyzer, tiny_server, tmp_path, capsys):
    np.save(tmp_path / "replay.npy", noise_rows(32, 3, 16))
    line = ["perf", "tiny", f"--url=grpc://{tiny_server.grpc_url}", f"--metrics={tiny_server.metrics_url}", "--json"]
    line += [f"--replay={tmp_path / 'replay.npy'}", "--concurrency=2", "--requests=40", f"--output={tmp_path / 'out'}"]
    assert main(line) == 0
    ours, full = json.loads(capsys.readouterr().out)["runs"]
    assert (ours["model"], full["model"]) == ("tiny", "tiny_full")
    # this server lets everybody leave at exit 0; a tap that overtakes may answer a few a little deeper
    assert ours["exits"]["0"] > 0.5 and sum(ours["exits"].values()) == pytest.approx(1) and full["exits"] == {}
    assert ours["failed"] == full["failed"] == 0 and ours["throughput"] > 0
    assert (tmp_path / "out" / "perf.png").stat().st_size > 10_000
    assert "| tiny_full | 2 requests in flight |" in (tmp_path / "out" / "perf.md").read_text()
