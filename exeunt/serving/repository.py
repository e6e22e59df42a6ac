"""What a Triton model repository holds: its models, their config.pbtxt, and the bags among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exeunt.contract import MANIFEST_FILE
from exeunt.errors import ConfigError
from exeunt.manifest import Manifest
from exeunt.serving.checks.onnx_contract import ModelConfig
from exeunt.settings import Settings

CONFIG_FILE = "config.pbtxt"


@dataclass(frozen=True, slots=True)
class ServedBag:
    """A bag of a repository.

    Attributes:
        manifest: as export wrote it.
        settings: the manifest's, with what config.pbtxt overrides.
        folder: `NAME_exit/1`, which holds the manifest.
        pinned: config.pbtxt names the state_dir, which then stays whatever the server is asked.
    """

    manifest: Manifest
    settings: Settings
    folder: Path
    pinned: bool


@dataclass(frozen=True, slots=True)
class Model:
    """One model of a repository.

    Attributes:
        folder: its folder; the name of the folder is the model's.
        config: what the backends read of its config.pbtxt.
        message: its whole config.pbtxt, tritonclient's `ModelConfig` message.
    """

    folder: Path
    config: ModelConfig
    message: Any

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.folder.name

    @property
    def backend(self) -> str:
        """Backend that runs it; "" for an ensemble."""
        return str(self.message.backend)

    @property
    def is_ensemble(self) -> bool:
        """True for a Triton ensemble."""
        return bool(self.message.platform == "ensemble")


def model_folders(repository: Path) -> list[Path]:
    """Folders of a repository's models, by name.

    Raises:
        ConfigError: no such folder, or no model in it.
    """
    if not repository.is_dir():
        raise ConfigError(f"{repository}: no such folder; `exeunt export BAG.toml -o {repository}` writes one")
    found = sorted(each.parent for each in repository.glob(f"*/{CONFIG_FILE}"))
    if not found:
        raise ConfigError(f"{repository}: holds no model (no */{CONFIG_FILE}); `exeunt export` writes some")
    return found


def read_config(model: Path) -> Any:
    """Parse a model's config.pbtxt into tritonclient's `ModelConfig` message.

    Raises:
        ConfigError: unreadable, or not what Triton's schema allows; names line and column.
    """
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    path = model / CONFIG_FILE
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), model_config_pb2.ModelConfig())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    except text_format.ParseError as error:
        raise ConfigError(f"{path}: line {error}; Triton's schema does not allow that") from None


def read_model(folder: Path) -> Model:
    """A model of a repository.

    Raises:
        ConfigError: see `read_config`; or the config names another model than its folder.
    """
    from google.protobuf.json_format import MessageToDict

    message = read_config(folder)
    if message.name and message.name != folder.name:
        raise ConfigError(f"{folder / CONFIG_FILE}: name = {message.name!r}; allowed: the folder's, or none")
    told = MessageToDict(message, preserving_proto_field_name=True) | {"name": folder.name}
    return Model(folder, ModelConfig.from_json(told), message)


def served_bags(repository: Path) -> list[ServedBag]:
    """The bags of a repository, by name; none is allowed, since Triton serves any model.

    Raises:
        ConfigError: a manifest, a config.pbtxt or one of its settings is wrong.
    """
    found = []
    for path in sorted(repository.glob(f"*/1/{MANIFEST_FILE}")):
        manifest = Manifest.load(path)
        config = read_config(path.parent.parent)
        told = {key: each.string_value for key, each in config.parameters.items()}
        settings = manifest.settings.overridden(told, f"{path.parent.parent / CONFIG_FILE}: parameters")
        found.append(ServedBag(manifest, settings, path.parent, pinned="state_dir" in told))
    return found


def named_state_dir(bags: Sequence[ServedBag]) -> Path | None:
    """The state_dir that the bags' settings name, if any.

    Raises:
        ConfigError: they name different ones, and one server has one (files in it are told apart by content hash).
    """
    named = {bag.settings.state_dir for bag in bags if not bag.pinned} - {""}
    if len(named) > 1:
        raise ConfigError(f"the bags name different folders, state_dir = {', '.join(sorted(named))}; ask for one")
    return Path(named.pop()) if named else None
