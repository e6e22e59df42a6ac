"""The models of a Triton repository and their whole config.pbtxt; its bags are read by exeunt/serving/bags.py."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exeunt.errors import ConfigError
from exeunt.serving.bags import CONFIG_FILE, model_files
from exeunt.serving.checks.onnx_contract import ModelConfig


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
        ConfigError: no such folder, no permission to look into it, or no model in it.
    """
    if not repository.is_dir():
        raise ConfigError(f"{repository}: no such folder; `exeunt export BAG.toml -o {repository}` writes one")
    folders = [path.parent for path in model_files(repository, CONFIG_FILE)]
    if not folders:
        raise ConfigError(f"{repository}: holds no model (no */{CONFIG_FILE}); `exeunt export` writes some")
    return folders


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
    table = MessageToDict(message, preserving_proto_field_name=True) | {"name": folder.name}
    return Model(folder, ModelConfig.from_json(table), message)
