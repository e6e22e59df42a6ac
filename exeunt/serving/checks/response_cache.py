"""Triton's response cache and early exits do not go together: `exeunt check` and every server refuse them."""

from __future__ import annotations

from pathlib import Path

from exeunt.contract import MANIFEST_FILE
from exeunt.errors import ConfigError
from exeunt.serving.bags import CONFIG_FILE, model_files, read_config

_FALSE = {"false", "False", "f", "0"}  # how protobuf's text format spells it; anything else may switch a cache on


def refuse_response_caches(repository: Path) -> None:
    """Raise ConfigError if a model of a repository with a bag has Triton's response cache.

    Its key knows inputs only, no request parameters: a cached early answer would be given to `exit = "never"`, and a
    cached tap would never reach the controller.
    """
    if not model_files(repository, f"1/{MANIFEST_FILE}"):
        return
    for path in model_files(repository, CONFIG_FILE):
        for cache in read_config(path).get("response_cache", []):
            if not isinstance(cache, dict) or not set(cache.get("enable", [])) <= _FALSE:
                raise ConfigError(
                    f"{path}: response_cache {{ enable: true }}; allowed: none. Triton's cache does not see request "
                    'parameters, and would hand early answers to requests with exit = "never"'
                )
