"""The comparison of tuners from prepared bags and votes to the report; training and images are the demo's to test."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.comparison.__main__ import main
from benchmarks.comparison.material import prepare, records_folder, write_stream
from benchmarks.comparison.run import BEST_FIXED, ORACLE, POLICIES
from benchmarks.comparison.scenarios import scenarios
from exeunt.contract import CALIBRATION_FILE, MANIFEST_FILE, exit_model, votes_name
from tests.replay import replay_bag

ROWS = 1000


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder that already holds a bag called digits and its six streams."""
    for needed in ("pyarrow", "sklearn", "matplotlib", "rich"):
        pytest.importorskip(needed)
    folder = tmp_path_factory.mktemp("compare")
    bag = dataclasses.replace(replay_bag.manifest(), bag="digits")
    version = folder / "digits" / "model_repository" / exit_model("digits") / "1"
    version.mkdir(parents=True)
    bag.save(version / MANIFEST_FILE)
    (version.parent / "config.pbtxt").write_text('backend: "exit_controller"\n')
    bag_votes = replay_bag.votes_of(bag, 300, seed=99)
    np.savez(
        version / CALIBRATION_FILE, **{votes_name(bag.members[m].name, d): item for (m, d), item in bag_votes.items()}
    )
    material = prepare("digits", folder, pytest.fail)
    for number, shape in enumerate(scenarios(ROWS, bag.classes, material.hard_class, seed=0)):
        stream = replay_bag.stream_of(bag, replay_bag.votes_of(bag, ROWS, seed=number), seed=number)
        write_stream(stream, bag, records_folder(material, shape, 0))
    return folder


def test_compare_judges_every_policy_on_every_stream_and_writes_the_report(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "docs" / "comparison.md"
    argv = ["--data", "digits", "--rows", str(ROWS), "--seeds", "1", "--processes", "1", "--json"]
    assert main([*argv, "--work", str(work), "--output", str(report)]) == 0
    table = json.loads(capsys.readouterr().out)
    policies = [*(item.label for item in POLICIES), BEST_FIXED, ORACLE]
    assert [item["scenario"] for item in table["streams"]] == [scenario.name for scenario in scenarios(ROWS, 5, 0, 0)]
    assert all(list(item["results"]) == policies for item in table["streams"])
    text = report.read_text()
    assert "python -m benchmarks.comparison --data digits --rows 1000 --seeds 1" in text
    for figure in ("comparison-digits-course.png", "comparison-digits-prices.png"):
        assert f"figures/{figure}" in text
        assert (report.parent / "figures" / figure).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--data", "digits,letters"], "--data 'digits,letters'; allowed: digits, glyphs"),
        (["--rows", "10"], "--rows from 1000"),
        (["--max-loss", "0"], "--max-loss between 0 and 1"),
    ],
)
def test_compare_names_what_it_cannot_do(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 78
    assert message in capsys.readouterr().err
