"""`exeunt replay` and `exeunt control` from the command line."""

from __future__ import annotations

import json
import re
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exeunt.cli.main import main
from exeunt.deciding.request import ParsedOptions
from exeunt.hosting.control import Control, control_path, read_control
from exeunt.hosting.status import Status, status_path, write_status
from exeunt.records.parquet import FeedbackLog
from exeunt.records.record import About
from exeunt.replay.policies import parse_policies
from tests.replay.replay_bag import Live, manifest, stream_of, tuner_of, votes_of


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record of 1200 rows under hill_climb."""
    pytest.importorskip("pyarrow")
    folder = tmp_path_factory.mktemp("records")
    bag = manifest(tuner="hill_climb", max_loss=0.03, shadow_share=1.0)
    bag_votes = votes_of(bag, 1200, seed=1)
    live = Live(bag, tuner_of(bag))
    log = FeedbackLog(folder, About.of(bag))
    live.controller.decisions.on_over.append(log.add)
    live.serve(stream_of(bag, bag_votes), bag_votes)
    log.close()
    return folder


def printed(capsys: pytest.CaptureFixture[str], *argv: str) -> Any:
    assert main([*argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_replay_with_the_recorded_tuner_reports_the_recorded_answers(
    records: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replayed = printed(capsys, "replay", str(records))
    results = replayed["results"]
    assert [result["policy"] for result in results] == ["as recorded", "hill_climb"]
    assert replayed["as_recorded"]["hill_climb"] == 1.0
    assert results[1]["mean_latency"] == results[0]["mean_latency"]
    assert results[1]["loss"] == results[0]["loss"]


def test_replay_compares_other_tuners_and_references(records: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = "static:thresholds=[0.2],patience:patience=3"
    results = printed(capsys, "replay", str(records), "--tuner", names, "--max-loss", "0.05", "--hindsight")["results"]
    by_name = {result["policy"]: result for result in results}
    assert by_name["oracle"]["loss"] == 0
    assert by_name["best fixed"]["loss"] <= 0.05
    assert by_name["oracle"]["mean_latency"] < by_name["best fixed"]["mean_latency"] < 1
    assert by_name["static:thresholds=[0.2]"]["early"] > 0


def test_replay_judges_each_class_of_service_by_its_own_promise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = manifest(tuner="static", max_loss=0.3, service_classes={"gold": 0.001}, shadow_share=1.0)
    bag_votes = votes_of(bag, 600, seed=2)
    live = Live(bag, tuner_of(bag))
    log = FeedbackLog(tmp_path, About.of(bag))
    live.controller.decisions.on_over.append(log.add)
    live.serve(stream_of(bag, bag_votes), bag_votes, lambda ticket: ParsedOptions(service_class=ticket % 2))
    log.close()
    results = printed(capsys, "replay", str(tmp_path), "--tuner", "static:thresholds=[1.0]", "--max-loss", "1")[
        "results"
    ]
    assert [result["policy"] for result in results][2:] == [
        "static:thresholds=[1.0] [default]",
        "static:thresholds=[1.0] [gold]",
    ]
    assert [result["violations"] > 0 for result in results[2:]] == [False, True]
    assert sum(result["rows"] for result in results[2:]) == 600
    assert [result["max_loss"] for result in results[2:]] == [1.0, 0.001]
    assert results[2]["serving_us_per_row"] == results[3]["serving_us_per_row"] > 0  # of the whole run


def test_replay_prints_a_table_and_draws_a_picture(
    records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "replay.png"
    assert main(["replay", str(records), "--plot", str(picture)]) == 0
    assert "1200 rows replayed" in capsys.readouterr().out
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--tuner", "hillclimb"], "unknown tuner 'hillclimb'; did you mean 'hill_climb'"),
        (["--tuner", "patience:patience"], "'patience' has no value; allowed: name:key=value"),
        (["--tuner", "patience:length=3"], "unknown option 'length'"),
        (["--max-loss", "2"], "--max-loss 2.0; allowed: a number from 0 to 1"),
        (["--repository", "."], "holds no bag with content hash"),
    ],
)
def test_replay_names_what_it_cannot_do(
    records: Path, argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(records), *argv]) == 78
    assert message in capsys.readouterr().err


def test_options_of_a_policy_may_hold_lists() -> None:
    policies = parse_policies("static:thresholds=[0.1,0.2],patience")
    assert [policy.options for policy in policies] == [{"thresholds": [0.1, 0.2]}, {}]


class Server:
    """Writes a status now and then and obeys control files, as the exit controller does."""

    def __init__(self, folder: Path, obeys: bool = True) -> None:
        self.folder = folder
        self.obeys = obeys
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._write()

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def control(self) -> Control:
        return read_control(control_path(self.folder, "ab"))

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            self._write()

    def _write(self) -> None:
        control = self.control if self.obeys else Control()
        active = tuple(not control.is_off(exit_) for exit_ in range(2))
        answers = ({"early": 30}, {}, {"full": 70})
        now_s = time.time()
        status = Status("digits", "ab", 7, now_s - 60, now_s, "budget", control.max_loss or 0.01)
        write_status(
            status_path(self.folder, "ab"),
            Status(
                **{item: getattr(status, item) for item in Status.__slots__}
                | {"active": (*active, True), "thresholds": (0.25, np.nan, np.nan), "answers": answers}
                | {"service_classes": {"gold": 0.001}, "exits_off": control.exits_off}
                | {"control_version": control.version, "metrics": {"lambda": 0.5}}
            ),
        )


def test_control_shows_the_state_of_a_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Server(tmp_path):
        assert main(["control", "digits", "--state-dir", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert "running" in output
    assert "promised loss 1.000%" in output
    assert re.search(r"\b30 +30\.0%", output)
    assert "lambda 0.5" in output


def test_control_changes_losses_and_exits_and_waits_until_the_server_obeys(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Server(tmp_path) as server:
        at = ["control", "digits", "--state-dir", str(tmp_path)]
        status = printed(capsys, *at, "--max-loss", "0.02", "--exits-off", "1", "--service-class", "gold=0.002")
        assert (status["max_loss"], status["active"]) == (0.02, [True, False, True])
        assert server.control == Control(0.02, {"gold": 0.002}, (1,), version=1)
        printed(capsys, *at, "--exits-on", "all")
        assert server.control == Control(0.02, {"gold": 0.002}, (), version=2)
        printed(capsys, *at, "--reset")
        assert server.control == Control(version=3)


def test_the_kill_switch_can_be_undone_exit_by_exit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Server(tmp_path) as server:
        at = ["control", "digits", "--state-dir", str(tmp_path)]
        assert printed(capsys, *at, "--exits-off", "all")["active"] == [False, False, True]
        assert server.control.exits_off == "all"
        assert printed(capsys, *at, "--exits-on", "0")["active"] == [True, False, True]


def test_the_kill_switch_hides_no_wrong_exit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Server(tmp_path):
        at = ["control", "digits", "--state-dir", str(tmp_path)]
        printed(capsys, *at, "--exits-off", "all")
        assert main([*at, "--exits-off", "7"]) == 78
    assert "--exits-off holds 7; allowed: 0 to 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["digit"], "unknown bag 'digit'; did you mean 'digits'"),
        (["digits", "--max-loss", "7"], "exeunt: control: max_loss = 7.0; allowed: a number from 0 to 1"),
        (["digits", "--exits-off", "2"], "--exits-off holds 2; allowed: 0 to 1 (exit 2 is the full ensemble"),
        (["digits", "--exits-on", "-1"], "--exits-on holds -1; allowed: 0 to 1"),
        (["digits", "--exits-off", "first"], "--exits-off 'first'; allowed: numbers with commas between, or all"),
        (["digits", "--exits-on", "all", "--exits-off", "1"], "--exits-off 1 and --exits-on all both name exit 1"),
        (["digits", "--service-class", "silver=0.1"], "unknown service class 'silver'"),
        (["digits", "--service-class", "gold"], "'gold'; allowed: NAME=SHARE"),
    ],
)
def test_control_names_what_it_cannot_do(
    tmp_path: Path, argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Server(tmp_path)
    assert main(["control", *argv, "--state-dir", str(tmp_path)]) == 78
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("*.control.json"))


def test_a_server_that_does_not_obey_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exeunt.cli.control.OBEYED_WITHIN_S", 0.1)
    with Server(tmp_path, obeys=False):
        assert main(["control", "digits", "--max-loss", "0.1", "--state-dir", str(tmp_path)]) == 70
    assert "process 7 has not obeyed" in capsys.readouterr().err
