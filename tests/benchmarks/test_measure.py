"""The serving benchmark without a server: stages, contenders, members alone, and the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.serving.bench_bag import BenchBag, BenchStream, Material
from benchmarks.serving.export import bag_file_text
from benchmarks.serving.forecast import forecasts
from benchmarks.serving.load import Point
from benchmarks.serving.measure import Stages, accuracy, best_member
from benchmarks.serving.report import markdown
from exeunt.cli.main import main
from exeunt_export.bagfile.bagfile import BagFile
from tests.export.tiny import tiny_bag


def no_material(folder: Path, cache: Path, say: Any) -> Material:
    raise AssertionError("not asked for")


BAG = BenchBag("toy", "A toy.", no_material)


def test_a_finished_stage_is_not_measured_again(tmp_path: Path) -> None:
    calls: list[int] = []
    for _ in range(2):
        assert Stages(tmp_path).get("capacity", lambda: calls.append(1) or 7.5) == 7.5
    assert calls == [1]


def test_a_stage_that_failed_is_measured_again(tmp_path: Path) -> None:
    stages = Stages(tmp_path)
    with pytest.raises(ZeroDivisionError):
        stages.get("capacity", lambda: 1 / 0)
    assert not stages.has("capacity") and stages.get("capacity", lambda: 3) == 3


def test_every_schedule_is_a_contender_beside_ensemble_mode() -> None:
    assert BAG.contenders(("cascade", "auto")) == {
        "toy": ("ensemble", "auto"),
        "toy_cascade": ("engine", "cascade"),
        "toy_auto": ("engine", "auto"),
    }


def test_the_best_member_is_never_the_vote() -> None:
    assert best_member(BAG, {"a": 0.7, "b": 0.8, "bag": 0.9}) == "toy_b"


def test_members_and_vote_are_held_against_the_vote_where_nobody_knows_the_truth(tmp_path: Path) -> None:
    bag = BagFile.read(tiny_bag(tmp_path, members=2))
    rows = np.load(tmp_path / "samples.npy")[:20]
    material = Material({m.name: m.file for m in bag.members}, rows, (), lambda rows, seed: stream)
    stream = BenchStream(rows, np.zeros(20))
    accuracies = accuracy(material, stream)
    assert accuracies["bag"] == 1.0 and set(accuracies) == {"bag", *(member.name for member in bag.members)}


def test_a_contenders_bag_file_is_one_that_export_reads(tmp_path: Path) -> None:
    material = Material({"a": tmp_path / "a.onnx"}, np.zeros((60, 3)), (), lambda rows, seed: BenchStream(rows, rows))
    path = tmp_path / "toy_auto.toml"
    path.write_text(bag_file_text("toy_auto", "engine", "auto", "", material, baseline=False))
    bag = BagFile.read(path)
    assert (bag.mode, bag.schedule, bag.serving.baseline) == ("engine", "auto", False)


def point(model: str, load: float, ms: float) -> dict[str, Any]:
    return Point(
        model, load, 10.0, 100, 0, ms, 2 * ms, ms, (ms, ms), (2 * ms, 2 * ms), {0: 0.9, 1: 0.1}, {"early": 0.9}, 0.005,
        0.1, [ms] * 101, {0: [0.9], 1: [0.1]},
    ).to_mapping()  # fmt: skip


def toy_results() -> dict[str, Any]:
    off = [point("toy_full", 0.3, 20.0), point("toy_auto", 0.3, 20.5)]
    counts = {"promised_rows": 100, "promised_loss": 0.01, "lost_rows": 1, "most_unconfirmed_rows": 4}
    return {
        "name": "toy",
        "about": "A toy.",
        "plain": "toy_full",
        "machine": {"cores": 2},
        "accuracy": {"a": 0.9, "b": 0.8, "bag": 0.95},
        "member_ms": {"a": 5.0, "b": 7.0},
        "oracle_share": 0.5,
        "own_time": {"own_us": 100.0, "tuning_us": 20.0, "all_us": 12000.0},
        "capacity_per_s": 50.0,
        "unloaded": {"toy_full": [20.0, 21.0], "toy_auto": [8.0, 9.0]},
        "closed_loop": [{"callers": 1, "model": m, "p50_ms": 20.0, "rows_per_s": r} for m, r in
                        (("toy_full", 50.0), ("toy_auto", 100.0))],
        "batches": [{"rows": 16, "model": m, "p50_ms": ms, "early": 0.0} for m, ms in
                    (("toy_full", 100.0), ("toy_auto", 90.0))],
        "exits_off": off,
        "points": [point("toy_full", 0.3, 20.0), point("toy_auto", 0.3, 8.0)],
        "memory_mb": {"toy_full": 100.0, "toy_auto": 80.0},
        "promises": {"toy_auto": {**counts, "promise_broken": 0.0}},
    }  # fmt: skip


def test_targets_are_held_against_the_plain_ensemble_of_the_same_load() -> None:
    text = markdown(toy_results())
    assert "| p50 at 30% load, best schedule | <= 0.45 | 0.40 (toy_auto) | reached |" in text


def test_the_bare_time_of_the_members_stands_beside_the_ratios() -> None:
    text = markdown(toy_results())
    assert "| a | 5.0 | 90.0% |" in text and "| all together | 12.0 | 95.0% |" in text


def test_throughput_is_not_compared_where_the_plain_ensemble_was_never_seen_to_give_in() -> None:
    assert "throughput" not in markdown(toy_results())
    more = toy_results()
    more["points"] += [point("toy_full", 0.8, 300.0), point("toy_auto", 0.8, 10.0)]
    assert "throughput, best schedule" in markdown(more)


def test_forecasts_stand_beside_the_measurement_and_those_that_come_close_are_counted() -> None:
    more = toy_results()
    forecast = {"p50_ms": 9.0, "p50_range_ms": (7, 11), "p99_ms": 32.0, "p99_range_ms": (20, 40)}
    forecast |= {"plain_p50_ms": 20.0, "plain_p99_ms": 64.0}
    more["forecasts"] = {"toy_auto": {"0.3": forecast}}
    text = markdown(more)
    assert "| 30% | toy_auto | 9.0 (7 to 11), 8.0, 1.12 | 32.0 (20 to 40), 16.0, 2.00 |" in text
    assert "| 30% | toy_full | 20.0, 20.0, 1.00 | 64.0, 40.0, 1.60 | |" in text
    assert "Within 20%: 2 of 4; within the stated interval: 1." in text


def test_forecasts_are_those_of_the_command_line_and_end_where_only_queues_are_left(
    tiny_exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_forecasts = forecasts(tiny_exported, ["tiny"], (0.3, 0.8, 1.3), 100.0, seconds=0)["tiny"]
    assert set(tiny_forecasts) == {"0.3", "0.8", "most_per_s", "plain_most_per_s"}
    assert main(["advise", str(tiny_exported), "--rate", "80", "--seconds", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["forecasts"][0]["p99_ms"] == pytest.approx(
        tiny_forecasts["0.8"]["p99_ms"]
    )
