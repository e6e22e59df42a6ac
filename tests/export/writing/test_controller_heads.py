"""A bag in ensemble mode whose ramps learn: taps bring features, and the controller's folder holds the heads."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from exeunt import contract
from exeunt.bag_stages import BagStages, tap_tensors
from exeunt.learning.files import HEADS_FILE
from exeunt.manifest import Manifest
from exeunt.serving.checks.repository import check_repository
from exeunt_export.writing.native import NativeOptions, adapt_configs
from tests.hosting.learning_server import exported


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tmp_path_factory.mktemp("heads") / "bag", mode="ensemble")


@pytest.fixture(scope="module")
def manifest(version: Path) -> Manifest:
    return Manifest.load(version / contract.MANIFEST_FILE)


def config_of(version: Path, model: str) -> pb.ModelConfig:
    path = version.parent.parent / model / "config.pbtxt"
    return text_format.Parse(path.read_text(encoding="utf-8"), pb.ModelConfig())


def test_the_repository_passes_every_check(version: Path) -> None:
    assert check_repository(version.parent.parent).problems == ()


def test_no_heads_are_triton_models_and_all_are_in_the_controllers_folder(version: Path, manifest: Manifest) -> None:
    heads = [exit_.heads for exit_ in manifest.exits if exit_.heads]
    assert heads and manifest.controller_heads
    assert all((version / f"{model}.onnx").is_file() for model in heads)
    assert not any((version.parent.parent / model).exists() for model in heads)


def test_a_tap_sends_what_its_exit_votes_by_and_the_last_the_features_at_every_ramp(
    version: Path, manifest: Manifest
) -> None:
    steps = config_of(version, "tiny_bag").ensemble_scheduling.step
    taps = [step for step in steps if step.model_name == "tiny_exit"]
    tensors = tap_tensors(manifest)
    for tap, step in zip(BagStages(manifest).taps, taps, strict=True):
        assert set(step.input_map) == {"TICKET"} | {tensors[pair].name for pair in tap.pairs}
    assert {name for name in taps[-1].input_map if name.endswith(".features")} == {
        tensor.name for tensor in tensors.values() if tensor.name.endswith(".features")
    }


def test_without_its_file_of_heads_the_repository_is_refused(tmp_path: Path) -> None:
    folder = exported(tmp_path / "bag", mode="ensemble")
    (folder / HEADS_FILE).unlink()
    assert any(HEADS_FILE in problem.what for problem in check_repository(folder.parent.parent).problems)


def test_native_options_reach_every_segment_and_ask_for_no_heads(tmp_path: Path) -> None:
    folder = exported(tmp_path / "bag", mode="ensemble")
    changed = adapt_configs(
        folder.parent.parent, Manifest.load(folder / contract.MANIFEST_FILE), NativeOptions(gpus=(0, 1))
    )
    assert changed and not any("heads" in model for model in changed)
