"""TensorRT engines: recipes beside the models, and the builder, with a stand-in for trtexec."""

import shutil
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from exeunt.errors import ConfigError, ServingError
from exeunt.manifest import Manifest
from exeunt.serving.tensorrt import Recipe, main
from exeunt_export.writing.tensorrt import write_engine_recipes
from tests.export.graphs import noise_rows


@pytest.fixture
def repository(tiny_exported, tmp_path):
    shutil.copytree(tiny_exported, tmp_path / "repository")
    return tmp_path / "repository"


@pytest.fixture
def prepared(repository):
    manifest = Manifest.load(repository / "tiny_exit/1/manifest.json")
    return write_engine_recipes(repository, manifest, {"IMAGE": noise_rows(8, 1, 16)}, "float16")


@pytest.fixture
def trtexec(tmp_path):
    """The stand-in as an executable of this Python."""
    script = tmp_path / "trtexec"
    script.write_text(f"#!{sys.executable}\n" + (Path(__file__).parent / "trtexec_stand_in.py").read_text())
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return script


def config_of(repository, model):
    return text_format.Parse((repository / model / "config.pbtxt").read_text(), pb.ModelConfig())


def test_every_onnx_model_becomes_a_tensorrt_model_and_no_other(repository, prepared):
    for path in repository.glob("*/config.pbtxt"):
        config = config_of(repository, path.parent.name)
        assert (
            (config.backend == "tensorrt")
            == (path.parent.name in prepared)
            == (config.default_model_filename == "model.plan")
        )
        assert config.backend != "onnxruntime" and not config.HasField("optimization")


def test_the_golden_config_of_an_engine(repository, prepared):
    config = config_of(repository, "tiny_a_s1")
    assert config.max_batch_size == 16 and config.HasField("dynamic_batching") and not config.parameters
    assert [(group.kind, group.count) for group in config.instance_group] == [(pb.ModelInstanceGroup.KIND_GPU, 1)]
    recipe = Recipe.read(repository / "tiny_a_s1/1/engine.json")
    assert recipe.precision == "float16"
    assert recipe.shapes == {"min": "IMAGE:1x1x16x16", "opt": "IMAGE:4x1x16x16", "max": "IMAGE:16x1x16x16"}


def test_every_engine_is_built_compared_and_then_left_alone(repository, prepared, trtexec, capsys):
    line = [str(repository), f"--trtexec={trtexec}"]
    assert main(line) == 0
    assert capsys.readouterr().out.count(": built, agrees (0% of the tolerance)") == len(prepared)
    assert {path.parent.parent.name for path in repository.glob("*/1/model.plan")} == set(prepared)
    assert main(line) == 0
    assert capsys.readouterr().out.count(": there") == len(prepared)


def test_an_engine_that_does_not_agree_never_takes_its_place(repository, prepared, trtexec, monkeypatch, capsys):
    monkeypatch.setenv("STAND_IN_OFFSET", "0.5")
    assert main([str(repository), f"--trtexec={trtexec}"]) == ServingError.exit_code
    assert "times the tolerance of float16" in capsys.readouterr().err
    assert not list(repository.glob("*/1/*model.plan*"))


def test_outside_the_image_the_builder_says_where_it_belongs(repository, prepared, tmp_path, capsys):
    assert main([str(repository), f"--trtexec={tmp_path / 'none'}"]) == ConfigError.exit_code
    assert "inside Triton's image" in capsys.readouterr().err


def test_a_repository_without_recipes_needs_no_engines(repository, capsys):
    assert main([str(repository)]) == 0
    assert "no engines asked for" in capsys.readouterr().out


def test_samples_are_the_models_own_inputs_in_order(repository, prepared):
    with (
        np.load(repository / "tiny_a_s2/1/sample.npz") as second,
        np.load(repository / "tiny_a_s1/1/sample.npz") as first,
    ):
        cut = [name for name in second.files if name.startswith("in.") and name != "in.IMAGE"]
        assert cut and all(np.array_equal(second[name], first["out." + name[3:]]) for name in cut)
