from __future__ import annotations

import dataclasses
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from exeunt.cli.main import main
from exeunt.manifest import Manifest
from exeunt_export.export_bag import export_bag
from exeunt_export.report.expectation import Expectation, SampleVotes, bag_warnings, expect
from exeunt_export.report.export_report import ExportReport
from exeunt_export.report.page import page
from tests.deciding.controller_bag import CLASSES, manifest
from tests.export.tiny import tiny_bag

ROWS = 400
BAG = manifest()  # exits at 100, 200 and 300 us, each head 1 us; members m0, m1, m2
VOID = ("area", "base", "br", "col", "hr", "img", "link", "meta", "rect", "line", "circle")


def votes_at(labels: np.ndarray, right: np.ndarray, sure: np.ndarray) -> np.ndarray:
    """Probabilities float32 [rows, CLASSES] of confidence `sure` for `labels` where `right`, else the next."""
    label = np.where(right, labels, (labels + 1) % CLASSES)
    rows = np.tile(((1 - sure) / (CLASSES - 1))[:, None], (1, CLASSES))
    rows[np.arange(len(labels)), label] = sure
    return rows.astype(np.float32)


def sample_votes(wrong: dict[int, float], bag: Manifest = BAG) -> SampleVotes:
    """Every vote of the bag: all members agree; ramps of depth d are wrong, and unsure, on a share of the rows."""
    rng = np.random.default_rng(0)
    labels, hard = rng.integers(CLASSES, size=ROWS), rng.random(ROWS)
    table = {}
    for member in bag.members:
        for depth in range(1, member.depth + 1):
            share = 0.0 if depth == member.depth else wrong[depth]
            right = hard >= share
            table[member.name, depth] = votes_at(labels, right, np.where(right, 0.9, 0.4) - 0.1 * hard)
    return table


SEEN, UNSEEN = np.arange(0, 300), np.arange(300, ROWS)


def test_ramps_that_agree_let_everybody_leave_at_the_first_exit() -> None:
    for line in expect(BAG, sample_votes({1: 0.0, 2: 0.0}), SEEN, UNSEEN):
        assert (line.latency_us, line.unseen_latency_us, line.loss, line.unseen_loss) == (101.0, 101.0, 0.0, 0.0)
        assert line.leaves == (1.0, 0.0, 0.0)


def test_too_few_rows_for_a_loss_are_said_and_enough_are_not() -> None:
    votes_ = sample_votes({1: 0.1, 2: 0.05})
    (line,) = [
        text for text in bag_warnings(BAG, votes_, SEEN, expect(BAG, votes_, SEEN, UNSEEN)) if "is a guess" in text
    ]
    assert "at a loss of 0.5%, 1.0%, 2.0%: 100 rows are few" in line
    many = [dataclasses.replace(point, unseen_loss_range=(0.0, 0.009)) for point in expect(BAG, votes_, SEEN, UNSEEN)]
    assert not any("is a guess" in text for text in bag_warnings(BAG, votes_, SEEN, many))


def test_ramps_that_know_nothing_are_not_offered() -> None:
    bag = manifest(depths=((1, 1), (2, 2), (3, 3)), weights=(1.0, 1.0))
    for line in expect(bag, sample_votes({1: 1.0, 2: 1.0}, bag), SEEN, UNSEEN):
        assert line.leaves[-1] >= 1 - line.max_loss


def test_a_larger_loss_is_never_slower_and_is_kept() -> None:
    rng = np.random.default_rng(1)
    result = rng.integers(CLASSES, size=ROWS)
    noisy = {
        (m.name, d): votes_at(
            result, rng.random(ROWS) < (0.7 + 0.1 * d if d < m.depth else 1.0), rng.uniform(0.4, 1, ROWS)
        )
        for m in BAG.members
        for d in range(1, m.depth + 1)
    }
    expected = expect(BAG, noisy, SEEN, UNSEEN)
    assert [line.max_loss for line in expected] == [0.005, 0.01, 0.02]
    assert all(line.loss <= line.max_loss for line in expected)
    assert expected[0].latency_us >= expected[1].latency_us >= expected[2].latency_us


def test_a_ramp_at_whose_exit_nobody_leaves_is_told() -> None:
    votes = sample_votes({1: 0.0, 2: 0.0})
    warnings = bag_warnings(BAG, votes, SEEN, expect(BAG, votes, SEEN, UNSEEN))
    # at exit 1 member m0 and m2 have finished or vote as at exit 0: m2's first ramp pays there
    assert [warning for warning in warnings if "never pay:" in warning] == [
        "exit 1: its ramps (m1 after segment 2) never pay: at a loss of up to 2% no calibration row should leave there"
    ]


def test_ramps_that_pay_are_not_warned_of() -> None:
    votes = sample_votes({1: 0.5, 2: 0.0})
    assert not any("never pay:" in line for line in bag_warnings(BAG, votes, SEEN, expect(BAG, votes, SEEN, UNSEEN)))


def test_a_member_that_changes_no_label_is_told() -> None:
    bag = manifest(weights=(1.0, 1.0, 0.01))
    votes = dict(sample_votes({1: 0.0, 2: 0.0}, bag))
    rng = np.random.default_rng(2)
    # m0 is right and m1 wrong where m0 is surer, and the other way round: both matter, m2 does not
    first = rng.random(ROWS) < 0.5
    labels = votes["m2", 2].argmax(axis=1)
    votes["m0", 2] = votes_at(labels, first, np.where(first, 0.9, 0.5))
    votes["m1", 3] = votes_at((labels + 2) % CLASSES, ~first, np.where(first, 0.5, 0.9))
    rows = np.arange(ROWS)
    lines = [line for line in bag_warnings(bag, votes, rows, expect(bag, votes, rows, rows)) if "never matters" in line]
    assert [line.split(":")[0] for line in lines] == ["member m2 never matters"]
    assert "on all 400 rows" in lines[0] and "29% less work" in lines[0]


def test_the_only_member_always_matters() -> None:
    bag = manifest(depths=((1,), (2,)), weights=(1.0,))
    votes = sample_votes({1: 0.0}, bag)
    assert not any("never matters" in line for line in bag_warnings(bag, votes, SEEN, expect(bag, votes, SEEN, UNSEEN)))


class Balanced(HTMLParser):
    """Checks that tags close in order and collects what they refer to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.refers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.refers += [value or "" for name, value in attrs if name in ("src", "href", "data", "action")]
        if tag not in VOID or (tag == "rect"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    folder = tmp_path_factory.mktemp("report")
    return export_bag(tiny_bag(folder, members=2), folder / "repository")


def test_the_page_lies_beside_the_readme(exported: ExportReport) -> None:
    files = sorted(line.name for line in exported.output.iterdir() if line.is_file())
    assert files == ["README.md", "report.html"]


def test_the_page_needs_nothing_from_elsewhere(exported: ExportReport) -> None:
    text = (exported.output / "report.html").read_text(encoding="utf-8")
    read = Balanced()
    read.feed(text)
    assert (read.open, read.refers) == ([], [])
    assert not {"script", "link", "img", "iframe"} & set(read.tags)
    assert "url(" not in text and "@import" not in text and "://" not in text
    assert "prefers-color-scheme: dark" in text


def test_the_page_shows_every_member_cut_and_exit(exported: ExportReport) -> None:
    text = page(exported)
    assert text.count("<svg ") == 2
    assert text.count('class="segment"') == sum(member.depth for member in exported.manifest.members)
    assert text.count('class="cut"') == len(exported.cuts)
    assert all(f"<code>{cut.after}</code>" in text for cut in exported.cuts)
    assert text.count('class="bar"') == len(exported.expected) == 3


def test_names_from_a_model_cannot_become_markup(exported: ExportReport) -> None:
    evil = dataclasses.replace(exported.cuts[0], after="<script>x</script>")
    text = page(dataclasses.replace(exported, cuts=(evil, *exported.cuts[1:]), warnings=("<b>",)))
    assert "<script>" not in text and "&lt;script&gt;" in text and "<b></div>" not in text


def test_a_bag_without_ramps_has_a_page_too(tmp_path: Path) -> None:
    report = export_bag(tiny_bag(tmp_path, members=1, cuts="exits = 0"), tmp_path / "repository")
    assert report.cuts == () and 'class="cut"' not in page(report)


def test_json_tells_what_the_page_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(tiny_bag(tmp_path, members=1)), "-o", str(tmp_path / "models"), "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert [line["max_loss"] for line in table["expected"]] == [0.005, 0.01, 0.02]
    assert set(table["expected"][0]) == {field.name for field in dataclasses.fields(Expectation)}
    assert all(cut["ramp_bytes"] == 4 * (cut["features"] + 1) * 8 for cut in table["cuts"])
    assert table["page"] == str(tmp_path / "models" / "report.html")
