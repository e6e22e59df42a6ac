from __future__ import annotations

from pathlib import Path

import onnxruntime as ort
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from exeunt import contract
from exeunt.errors import ConfigError
from exeunt.manifest import Manifest, Tensor
from exeunt.serving.checks.repository import check_repository
from exeunt_export import onnxfiles
from exeunt_export.bagfile.bagfile import Serving
from exeunt_export.export_bag import export_bag
from exeunt_export.readers import graph
from exeunt_export.writing import configs as configs_of
from exeunt_export.writing import readme
from exeunt_export.writing.repository import move, replacing
from tests.export.graphs import Net
from tests.export.tiny import tiny_bag
from tests.places import ROOT

PUBLIC = {"PROBABILITIES", "LABEL", "EXIT", "REASON", "RISK"}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bag")
    export_bag(tiny_bag(folder, members=2), folder / "repository")
    return folder / "repository"


@pytest.fixture(scope="module")
def configs(repository: Path) -> dict[str, pb.ModelConfig]:
    return {
        path.parent.name: text_format.Parse(path.read_text(encoding="utf-8"), pb.ModelConfig())
        for path in repository.glob("*/config.pbtxt")
    }


@pytest.fixture(scope="module")
def manifest(repository: Path) -> Manifest:
    return Manifest.load(repository / "tiny_exit" / "1" / contract.MANIFEST_FILE)


def test_every_model_of_the_readme_is_there_and_no_other(
    configs: dict[str, pb.ModelConfig], manifest: Manifest
) -> None:
    segments = {segment.model for member in manifest.members for segment in member.segments}
    heads = {exit_.heads for exit_ in manifest.exits if exit_.heads}
    bag = {"tiny", "tiny_exit", "tiny_bag", "tiny_full", "tiny_vote", "tiny_a", "tiny_b"}
    assert set(configs) == bag | segments | heads


def test_every_model_has_a_version_folder(repository: Path, configs: dict[str, pb.ModelConfig]) -> None:
    assert all((repository / name / "1").is_dir() for name in configs)


def test_the_public_model_has_the_five_answers(configs: dict[str, pb.ModelConfig]) -> None:
    public = configs["tiny"]
    assert {tensor.name for tensor in public.output} == PUBLIC
    assert [tensor.name for tensor in public.input] == ["IMAGE"]
    assert [step.model_name for step in public.ensemble_scheduling.step] == ["tiny_exit"]


def test_the_labels_file_names_every_class(repository: Path, configs: dict[str, pb.ModelConfig]) -> None:
    named = {tensor.name: tensor.label_filename for tensor in configs["tiny"].output}
    assert named["PROBABILITIES"] == "labels.txt"
    assert (repository / "tiny" / "labels.txt").read_text(encoding="utf-8").split() == [*"01234567"]


def test_the_controller_is_one_process_on_the_cpu(configs: dict[str, pb.ModelConfig]) -> None:
    group = configs["tiny_exit"].instance_group
    assert [(item.kind, item.count) for item in group] == [(pb.ModelInstanceGroup.KIND_CPU, 1)]
    assert not configs["tiny_exit"].HasField("dynamic_batching")


def test_every_input_of_the_controller_is_optional(configs: dict[str, pb.ModelConfig], manifest: Manifest) -> None:
    optional_by_name = {tensor.name: tensor.optional for tensor in configs["tiny_exit"].input}
    depths = {(m.name, d) for e in manifest.exits for m, d in zip(manifest.members, e.depths, strict=True) if d}
    assert set(optional_by_name) == {"IMAGE", "TICKET"} | {contract.votes_name(*depth) for depth in depths}
    assert all(optional_by_name.values())


def test_a_tap_sends_the_votes_of_its_exit(configs: dict[str, pb.ModelConfig], manifest: Manifest) -> None:
    taps = [step for step in configs["tiny_bag"].ensemble_scheduling.step if step.model_name == "tiny_exit"]
    for number, (tap, exit_) in enumerate(zip(taps, manifest.exits, strict=True)):
        named = zip(manifest.members, exit_.depths, strict=True)
        assert set(tap.input_map) == {"TICKET"} | {contract.votes_name(m.name, d) for m, d in named if d}
        assert dict(tap.output_map) == {"TAPPED": contract.tap_name(number)}


def test_every_tensor_of_an_ensemble_is_written_once_and_read(configs: dict[str, pb.ModelConfig]) -> None:
    for name in ("tiny", "tiny_bag", "tiny_full"):
        config = configs[name]
        steps = config.ensemble_scheduling.step
        written = [tensor for step in steps for tensor in step.output_map.values()]
        written += [tensor_.name for tensor_ in config.input]
        read = {tensor for step in steps for tensor in step.input_map.values()} | {e.name for e in config.output}
        assert len(written) == len(set(written))
        assert set(written) == read


def test_onnx_files_have_the_names_of_their_configs(repository: Path, configs: dict[str, pb.ModelConfig]) -> None:
    for name, config in configs.items():
        if config.backend == "onnxruntime":
            session = ort.InferenceSession(repository / name / "1" / "model.onnx")
            assert [input_.name for input_ in session.get_inputs()] == [tensor.name for tensor in config.input]
            assert {output.name for output in session.get_outputs()} == {tensor.name for tensor in config.output}
            assert config.HasField("dynamic_batching")
            assert config.parameters["intra_op_thread_count"].string_value == "1"


def test_the_baseline_votes_with_the_bag_s_weights(configs: dict[str, pb.ModelConfig]) -> None:
    parameters = configs["tiny_vote"].parameters
    assert (parameters["weights"].string_value, parameters["vote"].string_value) == ("1.0,1.25", "soft")


def test_every_onnx_model_and_no_other_warms_up_on_one_row(configs: dict[str, pb.ModelConfig]) -> None:
    for name, config in configs.items():
        assert len(config.model_warmup) == (config.backend == "onnxruntime"), name
        for row in config.model_warmup:
            assert (row.batch_size, row.count) == (1, 0)  # 0: Triton's default, once
            table = {key: (input_.data_type, list(input_.dims), input_.zero_data) for key, input_ in row.inputs.items()}
            assert table == {tensor.name: (tensor.data_type, list(tensor.dims), True) for tensor in config.input}


def test_a_model_with_a_free_dimension_is_not_warmed_up() -> None:
    serving = Serving()
    tokens, scores = Tensor("TOKENS", "int64", (-1,)), Tensor("PROBABILITIES", "float32", (2,))
    assert not configs_of.onnx_model(serving, [tokens], [scores]).model_warmup
    assert configs_of.onnx_model(serving, [Tensor("TOKENS", "int64", (8,))], [scores]).model_warmup


def test_the_whole_passes_the_checks_that_a_server_would_make(repository: Path) -> None:
    assert check_repository(repository).problems == ()


def test_the_readme_in_git_is_the_generated_one(repository: Path) -> None:
    in_git = ROOT / "model_repository" / "README.md"
    assert in_git.read_text(encoding="utf-8") == readme.TEXT == (repository / "README.md").read_text(encoding="utf-8")


def test_weights_beside_a_model_move_with_it_and_count_in_its_hash(tmp_path: Path) -> None:
    net = Net(0)
    model = graph.read(net.save(tmp_path / "m.onnx", net.logits(net.input, 1, 5, 16)))
    file = tmp_path / "work" / "model.onnx"
    onnxfiles.save(model, file, inline_bytes=0)
    inner, outer = (onnxfiles.sha256_of({"m": item}) for item in (tmp_path / "m.onnx", file))
    assert inner != outer and len(onnxfiles.parts_of(file)) == 2
    (tmp_path / "models").mkdir()
    move(file, tmp_path / "models" / "model.onnx")
    assert onnxfiles.sha256_of({"m": tmp_path / "models" / "model.onnx"}) == outer
    assert onnxfiles.open_session(tmp_path / "models" / "model.onnx")


def write(output: Path, content: str, force: bool = False) -> None:
    with replacing(output, force) as root:
        version = root / "repository" / "bag_exit" / "1"
        version.mkdir(parents=True)
        (version / "manifest.json").write_text(content, encoding="utf-8")


def test_a_folder_with_a_readme_alone_is_free(tmp_path: Path) -> None:
    output = tmp_path / "models"
    output.mkdir()
    (output / "README.md").write_text("old", encoding="utf-8")
    (output / ".gitkeep").touch()
    write(output, "new")
    assert sorted(path.name for path in output.iterdir()) == [".gitkeep", "bag_exit"]


def test_an_exported_repository_is_replaced_with_force_only(tmp_path: Path) -> None:
    output = tmp_path / "deep" / "models"
    write(output, "old")
    with pytest.raises(ConfigError, match="holds an exported bag already; replace it with --force"):
        write(output, "new")
    write(output, "new", force=True)
    assert (output / "bag_exit" / "1" / "manifest.json").read_text(encoding="utf-8") == "new"
    assert [path.name for path in output.parent.iterdir()] == ["models"]


def test_what_exeunt_did_not_write_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ConfigError, match="holds something that exeunt did not write"):
        write(tmp_path, "new", force=True)


def test_a_failure_half_way_keeps_the_old_repository(tmp_path: Path) -> None:
    output = tmp_path / "models"
    write(output, "old")
    with pytest.raises(RuntimeError, match="half way"), replacing(output, force=True) as root:
        (root / "repository" / "half").mkdir()
        raise RuntimeError("half way")
    assert (output / "bag_exit" / "1" / "manifest.json").read_text(encoding="utf-8") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "models").touch()
    with pytest.raises(ConfigError, match=r"models: is a file; choose a folder with -o"):
        write(tmp_path / "models", "new")


def test_an_option_that_the_tuner_does_not_know_ends_the_export_with_nothing_written(tmp_path):
    bag = tiny_bag(tmp_path, members=1, exit_table="tuner_options = { gg = 0.1 }")
    with pytest.raises(ConfigError, match="unknown option 'gg'"):
        export_bag(bag, tmp_path / "repository")
    assert not (tmp_path / "repository").exists()
