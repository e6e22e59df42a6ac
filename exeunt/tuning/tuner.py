"""The interface of tuners: who may leave, what is learnt from it, and when the rules are computed anew.

A tuner is pure: no clock, no threads, no I/O; chance comes from a seed. The controller calls it under one lock, so
`leaves`, `answered` and `learn` must be cheap. What takes long is computed by the job that `retune` hands out: it runs
beside serving, on a copy of what it needs, and its result comes back through `adopt`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from exeunt.errors import ConfigError, check_known
from exeunt.manifest import Costs
from exeunt.records.feedback import Feedback
from exeunt.settings import KINDS, Settings
from exeunt.tuning.error_budget.class_budget import ClassBudget

State = dict[str, Any]  # numbers, strings and numpy arrays by name


@dataclass(frozen=True, slots=True)
class View:
    """What a decision may look at: the open rows of a ticket at an exit that has just become complete.

    Attributes:
        labels: int32 [rows, exits], -1 where not seen.
        confidence: float32 [rows, exits], NaN where not seen.
        service_class: int16 [rows].
        q: probability with which a row that leaves now is chosen to finish; 1 where that is tossed later.
    """

    labels: np.ndarray
    confidence: np.ndarray
    service_class: np.ndarray
    q: float = 1.0


@dataclass(frozen=True, slots=True)
class Answered:
    """Rows that the controller has just answered, in the order of their decisions.

    Attributes:
        reason: int8 [rows], a Reason.
        exit: int32 [rows].
        service_class: int16 [rows].
        q: float32 [rows], probability with which the row was chosen to finish; 0 < q <= 1.
        finishes: bool [rows], the coin's outcome: True if feedback on the row will come.
        counted: bool [rows], False on rows outside the promise (`never`, NaN, deadline, degraded).
    """

    reason: np.ndarray
    exit: np.ndarray
    service_class: np.ndarray
    q: np.ndarray
    finishes: np.ndarray
    counted: np.ndarray


@dataclass(frozen=True, slots=True)
class Setup:
    """What every tuner is made from.

    Attributes:
        costs: latency of the exits at the batch size served most.
        settings: the operator's choices; `tuner_options` are checked by the tuner.
        calibration: rows on which every exit is known; may be empty.
        seed: of the tuner's own chance.
    """

    costs: Costs
    settings: Settings
    calibration: Feedback
    seed: int = 0

    @property
    def exits(self) -> int:
        """Number of exits, the full ensemble included."""
        return len(self.costs.elapsed_us)


class Tuner(ABC):
    """Decides which rows may leave early. Exits are numbered over all exits, the last is the full ensemble."""

    name: ClassVar[str]

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.version = 0  # grows with every change of what `leaves` or `active` would say
        self.heads_version = 0  # of the ramps' heads that what was learnt is about
        self.class_losses = setup.settings.class_losses  # promised loss by class of service, now

    def set_class_losses(self, class_losses: tuple[float, ...]) -> None:
        """An operator changes the promised losses, by class of service in Settings.classes_of_service's order."""
        self.class_losses = class_losses
        self.version += 1

    @abstractmethod
    def leaves(self, exit_: int, view: View) -> np.ndarray:
        """Rows that may leave at an active exit before the last; bool [rows]. NaN confidence must never leave."""

    @abstractmethod
    def thresholds(self) -> np.ndarray:
        """Threshold on 1 - confidence per exit, float64 [exits]; 0 where nobody leaves, NaN where none exists."""

    def active(self) -> np.ndarray:
        """Exits to offer, bool [exits]; the last is always True."""
        return np.ones(self.setup.exits, dtype=bool)

    def trusts(self) -> bool:
        """False while it lets nobody leave, whatever the votes say."""
        return True

    def risk(self, exit_: int, confidence: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
        """Estimated probability that a vote's label is not the full vote's; float32 [rows] from float32 [rows].

        `labels`, int32 [rows], are the votes' labels, for tuners that tell them apart.
        """
        return np.clip(np.float32(1.0) - confidence, 0.0, 1.0)

    def answered(self, answered: Answered) -> None:  # noqa: B027 - most tuners keep no accounts
        """Rows were answered (called once per row, at its decision)."""

    def tossed(self, answered: Answered) -> None:  # noqa: B027
        """Rows that were answered untossed (q = 1) have been tossed now; their `q` and `finishes` say what came out."""

    def feedback_wanted(self) -> float:
        """Share of answered rows whose full votes are worth their work now, 0..1; for the setting feedback = "auto"."""
        return 1.0

    def abandoned(self, answered: Answered) -> None:  # noqa: B027
        """Rows that were answered early will get no full vote after all, though chosen to finish."""

    @abstractmethod
    def learn(self, feedback: Feedback) -> None:
        """Finished rows; every row appears once. Cheap: thinking belongs into `retune`."""

    def learn_unbooked(self, feedback: Feedback, offered: np.ndarray | None = None) -> None:  # noqa: B027
        """Rows that other replicas of the bag have finished: to learn from, not to be booked. As cheap as `learn`.

        `offered`, bool [exits], are the exits that the others offer; they come once, to a tuner that has learnt nothing
        itself, before anything is served: then it thinks at once.
        """

    def ramps_changed(self, version: int, changed: np.ndarray, votes: Feedback) -> None:
        """Some exits vote by other heads from now on: what was learnt about them is void.

        Args:
            version: of the heads.
            changed: bool [exits].
            votes: what the exits, with these heads, say of some finished rows; may be empty.
        """
        self.heads_version = version

    def shareable_budgets(self) -> dict[str, ClassBudget]:
        """Accounts by class of service that may be handed over from one replica to another; most tuners keep none."""
        return {}

    @property
    def retune_due(self) -> bool:
        """Whether `retune` would hand out a job now; cheap, asked after every ticket."""
        return False

    def retune(self) -> Callable[[], Any] | None:
        """A job to run beside serving if one is due, else None; at most one is out at a time."""
        return None

    def adopt(self, outcome: Any) -> None:  # noqa: B027
        """Take over what a job returned."""

    @abstractmethod
    def state(self) -> State:
        """Everything learnt, to be saved."""

    @abstractmethod
    def restore(self, state: State, clean: bool) -> None:
        """Take over a saved state; `clean` is False if the saving process did not stop in order.

        Raises:
            ValueError: the state does not fit this bag or tuner.
        """

    def metrics(self) -> dict[str, float]:
        """Numbers for operators by name, in the tuner's own words."""
        return {}


def error_score(confidence: np.ndarray) -> np.ndarray:
    """1 - confidence in float64, so that serving and searching compare the same numbers; NaN stays NaN."""
    return 1.0 - confidence.astype(np.float64)


def options(setup: Setup, **defaults: Any) -> dict[str, Any]:
    """The tuner's options: `defaults` overridden by Settings.tuner_options.

    Raises:
        ConfigError: an unknown option, or one of another type than its default.
    """
    operator_options = setup.settings.tuner_options
    for key, value in operator_options.items():
        check_known("option", key, defaults, f"exit.tuner_options of tuner {setup.settings.tuner!r}")
        kind, words = KINDS[type(defaults[key]).__name__]
        if not isinstance(value, kind) or isinstance(value, bool) != isinstance(defaults[key], bool):
            raise ConfigError(f"exit.tuner_options: {key} = {value!r}; allowed: {words}")
    return defaults | operator_options


def part_of(state: State, prefix: str, names: list[str]) -> State:
    """Values of a state whose keys begin with `prefix`, without it.

    Raises:
        ValueError: one of `names` is missing.
    """
    missing = [name for name in names if prefix + name not in state]
    if missing:
        raise ValueError(f"saved state without {', '.join(prefix + name for name in missing)}")
    return {name: state[prefix + name] for name in names}
