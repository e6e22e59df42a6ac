"""What a Triton model repository holds: its models, their config.pbtxt, and the bags among them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exeunt.contract import MANIFEST_FILE
from exeunt.errors import ConfigError
from exeunt.manifest import Manifest
from exeunt.settings import Settings

CONFIG_FILE = "config.pbtxt"


@dataclass(frozen=True, slots=True)
class ServedBag:
    """A bag of a repository.

    Attributes:
        manifest: as export wrote it.
        settings: the manifest's, with what config.pbtxt overrides.
        folder: `NAME_exit/1`, which holds the manifest.
    """

    manifest: Manifest
    settings: Settings
    folder: Path


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


def served_bags(repository: Path) -> list[ServedBag]:
    """The bags of a repository, by name; none is allowed, since Triton serves any model.

    Raises:
        ConfigError: a manifest, a config.pbtxt or one of its settings is wrong.
    """
    found = []
    for path in sorted(repository.glob(f"*/1/{MANIFEST_FILE}")):
        manifest = Manifest.load(path)
        config = read_config(path.parent.parent)
        parameters = {key: each.string_value for key, each in config.parameters.items()}
        where = f"{path.parent.parent / CONFIG_FILE}: parameters"
        found.append(ServedBag(manifest, overridden(manifest.settings, parameters, where), path.parent))
    return found


def overridden(settings: Settings, parameters: Mapping[str, str], where: str) -> Settings:
    """Settings with the parameters of a config.pbtxt, which are all strings, in place of theirs.

    Parameters that are no settings belong to Triton or to another backend and are passed over.

    Raises:
        ConfigError: a value is not of its key's type, or not allowed.
    """
    told = settings.to_mapping()
    kinds = {each.name: str(each.type) for each in dataclasses.fields(Settings)}
    for key, text in parameters.items():
        if key in kinds:
            told[key] = _value(text, kinds[key], f"{where}: {key}")
    return Settings.from_mapping(told, where)


def _value(text: str, kind: str, where: str) -> Any:
    if kind == "str":
        return text
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        raise ConfigError(f"{where} = {text!r}; allowed: a {kind} as JSON writes it") from None
    return value
