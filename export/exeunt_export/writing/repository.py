"""Writing a Triton model repository: all of it or nothing."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tritonclient.grpc import model_config_pb2 as pb

from exeunt import contract
from exeunt.bag_parts import parts_of
from exeunt.bag_stages import tap_tensors
from exeunt.contract import PROBABILITIES, votes_name
from exeunt.errors import ConfigError
from exeunt.manifest import Manifest, Tensor
from exeunt_export import onnxfiles
from exeunt_export.bagfile.bagfile import Serving
from exeunt_export.writing import configs, readme
from exeunt_export.writing.bag_ensembles import bag_ensembles

_OURS = {readme.README_FILE, readme.PAGE_FILE}  # beside the models, where Triton looks at folders only
_HARMLESS = _OURS | {".gitkeep", ".gitignore"}


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The ONNX files that become models, by model name.

    Attributes:
        parts: segments and heads.
        whole: unsplit members; empty without the baseline.
        preprocessing: that members share, where there is one.
    """

    parts: dict[str, Path]
    whole: dict[str, Path]
    preprocessing: dict[str, Path] = field(default_factory=dict)


@contextmanager
def replacing(output: Path, force: bool) -> Iterator[Path]:
    """A folder beside `output` with two empty folders in it, `repository` and `work`.

    When the block ends well `repository` takes the place of `output`; all else vanishes in any case.

    Args:
        output: the repository; may be missing, empty, or (with `force`) an exeunt repository.
        force: replace a repository that exeunt wrote.

    Raises:
        ConfigError: something else is at `output`, or the disk refuses.
    """
    check_output(output, force)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{output.name}.partial-", dir=output.parent))
    except OSError as error:
        raise ConfigError(f"{output}: cannot be written: {error}; choose another folder with -o") from None
    try:
        repository = partial / "repository"
        repository.mkdir()
        (partial / "work").mkdir()
        yield partial
        _exchange(repository, output, partial / "old")
    except OSError as error:
        raise ConfigError(f"{output}: cannot be written: {error}; nothing was changed") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_output(output: Path, force: bool) -> None:
    """Raise ConfigError unless a repository may be written to `output`."""
    if not output.exists():
        return
    if not output.is_dir():
        raise ConfigError(f"{output}: is a file; choose a folder with -o")
    if {path.name for path in output.iterdir()} <= _HARMLESS:
        return
    if not any(output.glob(f"*/1/{contract.MANIFEST_FILE}")):
        raise ConfigError(f"{output}: holds something that exeunt did not write; choose another folder with -o")
    if not force:
        raise ConfigError(f"{output}: holds an exported bag already; replace it with --force, or choose another folder")


def _exchange(new: Path, output: Path, old: Path) -> None:
    """Put `new` in the place of `output` by renaming, the old one to `old`; put it back if that fails."""
    if not output.exists():
        new.rename(output)
        return
    for path in output.iterdir():
        if path.name in _HARMLESS - _OURS:
            shutil.copy2(path, new / path.name)
    output.rename(old)
    try:
        new.rename(output)
    except OSError:
        old.rename(output)
        raise


def write_models(root: Path, manifest: Manifest, serving: Serving, files: ModelFiles) -> Path:
    """Write every model of a bag below `root`, configs and ONNX files; manifest and calibration are the caller's.

    Args:
        root: an empty folder.
        manifest: of the bag.
        serving: of the bag file.
        files: moved, not copied, where they are large.

    Returns:
        the exit controller's version folder.
    """
    _write_public_ensemble(root, manifest, serving)
    if serving.stream:
        configs.write(configs.stream_model(serving, manifest), root / contract.stream_model(manifest.bag))
    version = _write_exit_controller(root, manifest, serving)
    for part in parts_of(manifest):
        if part.in_triton:
            configs.write(configs.onnx_model(serving, part.inputs, part.outputs), root / part.model)
        move(files.parts[part.model], part.file(root, manifest.bag))
    if manifest.mode == "ensemble":
        for name, ensemble in bag_ensembles(manifest, serving):
            _write_ensemble(root, name, ensemble, None)
    if manifest.preprocess is not None:
        config = configs.onnx_model(serving, manifest.preprocess.inputs, manifest.preprocess.outputs)
        _write_onnx_model(root, manifest.preprocess.model, config, files.preprocessing[manifest.preprocess.model])
    if files.whole:
        _write_baseline(root, manifest, serving, files)
    (root / readme.README_FILE).write_text(readme.TEXT, encoding="utf-8")
    return version


def _write_public_ensemble(root: Path, manifest: Manifest, serving: Serving) -> None:
    answers = manifest.answers
    ensemble = _client_ensemble(serving, manifest, answers)
    names = {answer.name: answer.name for answer in answers}
    ensemble.add_step(
        contract.exit_model(manifest.bag), {input_.name: input_.name for input_ in manifest.inputs}, names
    )
    _write_ensemble(root, manifest.bag, ensemble, manifest)


def _client_ensemble(serving: Serving, manifest: Manifest, outputs: Sequence[Tensor]) -> configs.Ensemble:
    """An ensemble that clients call, its first step the preprocessing, where the bag has one."""
    ensemble = configs.Ensemble(serving, manifest.public_inputs, outputs)
    if manifest.preprocess is not None:
        tensors = (manifest.preprocess.inputs, manifest.preprocess.outputs)
        ensemble.add_step(
            manifest.preprocess.model, *({tensor.name: tensor.name for tensor in names} for names in tensors)
        )
    return ensemble


def _write_exit_controller(root: Path, manifest: Manifest, serving: Serving) -> Path:
    taps = tuple(tap_tensors(manifest).values()) if manifest.mode == "ensemble" else None
    folder = root / contract.exit_model(manifest.bag)
    configs.write(configs.exit_controller(serving, manifest.inputs, manifest.answers, taps), folder)
    return folder / "1"


def _write_baseline(root: Path, manifest: Manifest, serving: Serving, files: ModelFiles) -> None:
    outputs = [Tensor(PROBABILITIES, "float32", (manifest.classes,)), Tensor(contract.LABEL, "int64", (1,))]
    ensemble = _client_ensemble(serving, manifest, outputs)
    votes = [votes_name(member.name, member.depth) for member in manifest.members]
    for member, vote in zip(manifest.members, votes, strict=True):
        assert member.model is not None  # the baseline was asked for
        names = {input_.name for segment in member.segments for input_ in segment.inputs}
        inputs = [input_ for input_ in manifest.inputs if input_.name in names]
        config = configs.onnx_model(serving, inputs, outputs[:1])
        _write_onnx_model(root, member.model, config, files.whole[member.model])
        ensemble.add_step(member.model, {input_.name: input_.name for input_ in inputs}, {PROBABILITIES: vote})
    name = contract.vote_model(manifest.bag)
    weights = [member.weight for member in manifest.members]
    configs.write(configs.vote_model(serving, votes, weights, manifest.vote, manifest.classes), root / name)
    ensemble.add_step(name, {name_: name_ for name_ in votes}, {output.name: output.name for output in outputs})
    _write_ensemble(root, contract.full_model(manifest.bag), ensemble, manifest)


def _write_ensemble(root: Path, name: str, ensemble: configs.Ensemble, labelled: Manifest | None) -> None:
    if labelled is not None:  # for exeunt_client: Triton tells clients a model's parameters, never its labels file
        ensemble.config.parameters["labels"].string_value = json.dumps(labelled.labels)
    configs.write(ensemble.config, root / name)
    if labelled is not None:
        text = "".join(f"{label}\n" for label in labelled.labels)
        (root / name / configs.LABELS_FILE).write_text(text, encoding="utf-8")


def _write_onnx_model(root: Path, model: str, config: pb.ModelConfig, file: Path) -> None:
    configs.write(config, root / model)
    move(file, root / model / "1" / "model.onnx")


def move(file: Path, to: Path) -> None:
    """Move an ONNX file with its weights; `to` has the same name, since a model knows its weights' file by name."""
    for part in onnxfiles.parts_of(file):
        part.rename(to.with_name(part.name))
