"""Options of the native backends: golden configs, field by field, as Triton's documentation has them."""

import re
import shutil

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from exeunt.errors import ConfigError
from exeunt.manifest import Manifest
from exeunt_export.writing.native import NativeOptions, adapt_configs

MANIFEST = "tiny_exit/1/manifest.json"


@pytest.fixture
def repository(tiny_exported, tmp_path):
    shutil.copytree(tiny_exported, tmp_path / "repository")
    return tmp_path / "repository"


@pytest.fixture
def adapted(repository):
    """Adapt, and give every config by model."""

    def run(**options):
        adapt_configs(repository, Manifest.load(repository / MANIFEST), NativeOptions(**options))
        paths = repository.glob("*/config.pbtxt")
        return {path.parent.name: text_format.Parse(path.read_text(), pb.ModelConfig()) for path in paths}

    return run


def accelerator(config):
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    return accelerator


def test_nothing_asked_changes_nothing(repository):
    before = {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()}
    assert adapt_configs(repository, Manifest.load(repository / MANIFEST), NativeOptions()) == []
    assert {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()} == before


def test_tensorrt_gets_a_cache_on_the_state_volume_and_the_whole_range_of_batches(adapted):
    tensorrt = accelerator(adapted(accelerator="tensorrt", precision="float16")["tiny_a_s1"])
    assert tensorrt.name == "tensorrt"
    assert dict(tensorrt.parameters) == {
        "precision_mode": "FP16",
        "max_workspace_size_bytes": "1073741824",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": "/state/tensorrt",
        "trt_engine_cache_prefix": "tiny_a_s1",
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": "/state/tensorrt",
        "trt_profile_min_shapes": "IMAGE:1x1x16x16",
        "trt_profile_opt_shapes": "IMAGE:4x1x16x16",
        "trt_profile_max_shapes": "IMAGE:16x1x16x16",
    }


def test_every_onnx_model_and_no_other_gets_tensorrt(adapted):
    configs = adapted(accelerator="tensorrt")
    with_it = {name for name, config in configs.items() if config.HasField("optimization")}
    assert with_it == {name for name, config in configs.items() if config.backend == "onnxruntime"}


def test_members_are_dealt_out_to_the_gpus_in_turn(adapted):
    configs = adapted(gpus=(2, 5))
    for member, gpu in (("a", 2), ("b", 5)):
        ours = [config for name, config in configs.items() if re.fullmatch(f"tiny_{member}(_s.)?", name)]
        assert ours and all(list(config.instance_group[0].gpus) == [gpu] for config in ours)
        assert all(config.instance_group[0].kind == pb.ModelInstanceGroup.KIND_GPU for config in ours)
    assert configs["tiny_exit"].instance_group[0].kind == pb.ModelInstanceGroup.KIND_CPU


def test_a_segment_ranks_behind_the_one_before_it(adapted, tiny_exported):
    configs = adapted(rank_segments=True)
    member = Manifest.load(tiny_exported / MANIFEST).members[0]
    limits = [configs[segment.model].instance_group[0].rate_limiter for segment in member.segments]
    assert [limit.priority for limit in limits] == [10**depth for depth in range(member.depth)]
    assert all(
        (resource.name, getattr(resource, "global"), resource.count) == ("slot", True, 1)
        for limit in limits
        for resource in limit.resources
    )


def test_the_exit_controller_and_the_baseline_are_never_ranked(adapted):
    configs = adapted(rank_segments=True)
    for name in ("tiny_exit", "tiny_a", "tiny_vote"):
        assert not any(group.HasField("rate_limiter") for group in configs[name].instance_group)


def test_adapting_twice_is_adapting_once(adapted):
    options = {"accelerator": "tensorrt", "gpus": (0,), "rank_segments": True}
    first = {name: config.SerializeToString(deterministic=True) for name, config in adapted(**options).items()}
    assert {name: config.SerializeToString(deterministic=True) for name, config in adapted(**options).items()} == first


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accelerator": "tensort"}, "did you mean 'tensorrt'"),
        ({"accelerator": "tensorrt", "precision": "fp16"}, "float16"),
        ({"precision": "float16"}, "needs format or accelerator 'tensorrt'"),
        ({"gpus": (0, 0)}, "different numbers"),
        ({"format": "tensorrt", "accelerator": "tensorrt"}, "one of them"),
    ],
)
def test_an_option_that_is_not_allowed_is_named(adapted, options, message):
    with pytest.raises(ConfigError, match=message):
        adapted(**options)
