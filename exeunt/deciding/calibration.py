"""Calibration data: what every ramp and member said of the calibration rows (`NAME_exit/1/calibration.npz`)."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from exeunt.contract import votes_name
from exeunt.deciding import votes
from exeunt.deciding.votes import SCORES
from exeunt.errors import ConfigError
from exeunt.manifest import Manifest
from exeunt.records.feedback import Feedback


def load_calibration(path: Path, manifest: Manifest) -> Feedback:
    """Read the calibration rows of a bag as feedback on every exit.

    Args:
        path: an .npz with one float [rows, classes] per `votes_name(member, depth)`.
        manifest: of the same bag.

    Raises:
        ConfigError: the file is missing, damaged, or of another bag.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            probabilities = {name: stored[name].astype(np.float32) for name in stored.files}
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; `exeunt export` writes it beside the manifest") from None
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise ConfigError(f"{path}: not a calibration file: {error}; export again") from None
    try:
        return exits_of(probabilities, manifest)
    except KeyError as error:
        raise ConfigError(f"{path}: no votes of {error} in it, so it belongs to another bag; export again") from None


def exits_of(probabilities: Mapping[str, np.ndarray], manifest: Manifest) -> Feedback:
    """Feedback of rows of which every member's probabilities at every depth that votes are known.

    Args:
        probabilities: `votes_name(member, depth)` -> float32 [rows, classes].
        manifest: of the bag; its settings choose the score.

    Raises:
        KeyError: a member's probabilities at some exit are missing.
    """
    score = SCORES[manifest.settings.confidence]
    labels, confidence = [], []
    for number, exit_ in enumerate(manifest.exits):
        voting = [(m, d) for m, d in zip(manifest.members, exit_.depths, strict=True) if d]
        mean = votes.vote(
            [probabilities[votes_name(member.name, depth)] for member, depth in voting],
            manifest.exit_weights(number),
            manifest.vote,
        )
        labels.append(votes.labels(mean))
        confidence.append(score(mean))
    return Feedback.observed(np.stack(labels, axis=1), np.stack(confidence, axis=1))
