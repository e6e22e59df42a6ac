"""The vote of the baseline `NAME_full`: all members' probabilities in, one answer out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from exeunt.contract import LABEL, PROBABILITIES
from exeunt.deciding.votes import labels, vote
from exeunt.errors import ConfigError, check_known
from exeunt.manifest_check import VOTES
from exeunt.serving.checks.onnx_contract import ModelConfig


@dataclass(frozen=True, slots=True)
class FullVote:
    """How a model with `backend: "vote"` votes.

    Attributes:
        inputs: names of the members' probabilities, in the config's order.
        weights: the members' weights, in the same order.
        kind: "soft" or "hard".
    """

    inputs: tuple[str, ...]
    weights: tuple[float, ...]
    kind: str

    @classmethod
    def from_config(cls, config: ModelConfig) -> FullVote:
        """Read the parameters `weights` ("0.5,0.25,0.25") and `vote` of a config.pbtxt.

        Raises:
            ConfigError: one is missing or wrong, or the outputs are not PROBABILITIES and LABEL.
        """
        where = f"model {config.name!r}: config.pbtxt"
        inputs = tuple(port.name for port in config.inputs)
        kind = config.parameters.get("vote", "soft")
        check_known("vote", kind, VOTES, where)
        text = config.parameters.get("weights", "")
        try:
            weights = tuple(float(part) for part in text.split(","))
        except ValueError:
            weights = ()
        if len(weights) != len(inputs) or not all(math.isfinite(weight) and weight > 0 for weight in weights):
            raise ConfigError(
                f"{where}: parameter weights = {text!r}; allowed: a number above 0 for each input "
                f"({', '.join(inputs)}), separated by commas"
            )
        for port in config.outputs:
            check_known("output", port.name, (PROBABILITIES, LABEL), where)
        return cls(inputs, weights, kind)

    def __call__(self, probabilities: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Vote.

        Args:
            probabilities: by input name, float32 [rows, classes].

        Returns:
            PROBABILITIES float32 [rows, classes] and LABEL int64 [rows, 1].
        """
        mean = vote([probabilities[name] for name in self.inputs], self.weights, self.kind)
        return {PROBABILITIES: mean, LABEL: labels(mean).astype(np.int64)[:, None]}
