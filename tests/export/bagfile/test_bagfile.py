from __future__ import annotations

import json
import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from exeunt.errors import ConfigError
from exeunt.settings import TUNERS, Settings
from exeunt_export.bagfile.bagfile import BagFile, BagMember
from tests.places import ROOT
from tests.replay.replay_bag import manifest, tuner_of

DOCUMENTATION = (ROOT / "docs" / "bag_file.md").read_text(encoding="utf-8")
GOOD = """
name = "digits"
labels = ["zero", "one"]
samples = "data/samples.npy"
mode = "engine"
vote = "hard"
[[member]]
name = "plain"
file = "plain.onnx"
[[member]]
name = "wide"
file = "/models/wide.onnx"
weight = 2
[cuts]
exits = 5
ramp_budget = 0.1
grid = [2, 1]
[serving]
kind = "cpu"
baseline = false
[exit]
tuner = "static"
max_loss = 0.02
"""


def read(tmp_path: Path, text: str) -> BagFile:
    (tmp_path / "BAG.toml").write_text(text, encoding="utf-8")
    return BagFile.read(tmp_path / "BAG.toml")


def test_every_table_is_read(tmp_path: Path) -> None:
    bag = read(tmp_path, GOOD)
    assert (bag.name, bag.mode, bag.vote, bag.labels) == ("digits", "engine", "hard", ("zero", "one"))
    assert (bag.cuts.exits, bag.cuts.ramp_budget, bag.cuts.grid, bag.cuts.max_cut_width) == (5, 0.1, (2, 1), 2)
    assert (bag.serving.kind, bag.serving.baseline, bag.serving.max_batch_size) == ("cpu", False, 64)
    assert (bag.settings.tuner, bag.settings.max_loss) == ("static", 0.02)


def test_paths_are_relative_to_the_bag_file(tmp_path: Path) -> None:
    bag = read(tmp_path, GOOD)
    assert bag.samples == tmp_path / "data/samples.npy"
    assert [member.file for member in bag.members] == [tmp_path / "plain.onnx", Path("/models/wide.onnx")]


def test_labels_may_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("cat\ndog\n", encoding="utf-8")
    assert read(tmp_path, GOOD.replace('["zero", "one"]', '"labels.txt"')).labels == ("cat", "dog")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: no such file"):
        BagFile.read(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('vote = "hard"', 'vots = "hard"', r"BAG\.toml: unknown key 'vots'; did you mean 'vote'\?"),
        ("exits = 5", "exit = 5", r"\[cuts\]: unknown key 'exit'; did you mean 'exits'\?"),
        ('kind = "cpu"', 'kind = "tpu"', r"\[serving\]: unknown kind 'tpu'.*allowed: auto, cpu, gpu"),
        ("weight = 2", "wieght = 2", r"member wide: unknown key 'wieght'; did you mean 'weight'\?"),
        ("weight = 2", "weight = 0", r"member wide: weight = 0; allowed: a number above 0"),
        ("max_loss = 0.02", "max_loss = 2", r"\[exit\]: max_loss = 2.0; allowed: a number from 0 to 1"),
        ("max_loss = 0.02", "max_los = 0", r"\[exit\]: unknown key 'max_los'; did you mean 'max_loss'\?"),
        ('mode = "engine"', 'mode = "fast"', r"unknown mode 'fast' \(allowed: engine, ensemble\)"),
        ('name = "wide"', 'name = "plain"', "two members are named 'plain'"),
        ('name = "wide"', 'name = "exit"', "member name 'exit' is taken"),
        ('name = "wide"', 'name = "plain_s1"', "member name 'plain_s1' is taken"),
        ('name = "wide"', 'name = "a b"', r"name = 'a b'; allowed: letters, digits"),
        ("exits = 5", 'exits = "5"', r"\[cuts\]: exits = '5'; allowed: a whole number"),
        ("exits = 5", "exits = -1", r"\[cuts\]: exits = -1; allowed: a whole number from 0"),
        ("grid = [2, 1]", "grid = [3]", r"\[cuts\]: grid = \[3\]"),
        ("ramp_budget = 0.1", "ramp_budget = -1", r"ramp_budget = -1; allowed: a number from 0"),
        ('samples = "data/samples.npy"', "", "samples is missing"),
        ('file = "plain.onnx"', "", "member plain: file is missing"),
        ('["zero", "one"]', '["zero", "zero"]', "labels: each label once"),
        ('["zero", "one"]', '"none.txt"', r"labels: .*none\.txt: no such file"),
        ('name = "wide"', 'name = "wide"\ninputs = { x = 1 }', r"member wide: inputs = \{'x': 1\}; allowed: its own"),
        (
            'name = "wide"',
            'name = "wide"\nscores = "odds"',
            r"unknown scores 'odds'.*auto, logits, one_vs_rest, prob",
        ),
        ('mode = "engine"', 'inputs = ["A", "A"]', r"inputs = \['A', 'A'\]; allowed: a list of .* each once"),
        ("[cuts]", "[cuts", "not TOML"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read(tmp_path, GOOD.replace(old, new))
    assert "BAG.toml" in str(caught.value)


def test_the_documentation_shows_every_key_with_its_default(tmp_path: Path) -> None:
    fields_ = tomllib.loads(DOCUMENTATION.split("```toml\n")[1].split("```")[0])
    bag = BagFile(where="docs", name="digits", members=(), samples=None)
    tables = {"cuts": bag.cuts, "serving": bag.serving, "member": BagMember("plain", Path("plain.onnx"))}
    assert set(fields_) == {field.name for field in fields(BagFile)} - {"where", "members", "settings"} | {
        "member",
        "exit",
    }
    assert {key: fields_[key] for key in ("mode", "vote", "schedule", "seed")} == {
        key: getattr(bag, key) for key in ("mode", "vote", "schedule", "seed")
    }
    documented_tables = {"cuts": fields_["cuts"], "serving": fields_["serving"], "member": fields_["member"][0]}
    for name, table in documented_tables.items():
        expected = {field.name: getattr(tables[name], field.name) for field in fields(tables[name])}
        plain = {k: list(v) if isinstance(v, tuple) else "" if v is None else v for k, v in expected.items()}
        assert table == plain | ({"file": "plain.onnx"} if name == "member" else {})
    shown_exit = dict(re.findall(r"^\| `(\w+)` \| `([^`]*)` \| [^`]", DOCUMENTATION, re.MULTILINE))
    assert shown_exit == {key: json.dumps(value) for key, value in Settings().to_mapping().items()}


@pytest.mark.parametrize("tuner", TUNERS)
def test_the_documentation_shows_every_option_of_a_tuner(tuner: str) -> None:
    options = re.findall(rf"^\| `{tuner}` \| `(\w+)` \| `([^`]*)` \| \S", DOCUMENTATION, re.MULTILINE)
    with pytest.raises(ConfigError) as caught:
        tuner_of(manifest(tuner=tuner, tuner_options={"none such": 0}))
    assert f"(allowed: {', '.join(sorted(option for option, _ in options))})" in str(caught.value)
    tuner_of(manifest(tuner=tuner, tuner_options={option: json.loads(value) for option, value in options}))
