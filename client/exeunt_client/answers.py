"""Answers of the public model as typed values: one row (`Answer`) or a batch (`Answers`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from exeunt_client.contract import EXIT, LABEL, PROBABILITIES, REASON, RISK, TOP_LABELS, TOP_PROBABILITIES, Reason
from exeunt_client.errors import ServingError

NO_EXIT = -1  # the model has no exits: a plain ensemble or a single member


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said about one row.

    Attributes:
        label: index of the class; -1 where no member gave a finite vote.
        label_name: its name; the number itself where the names are not known.
        probabilities: float32 [classes], the vote that answered.
        exit: exit that answered, NO_EXIT from a model without exits.
        reason: why it left there.
        risk: estimated probability that `label` differs from the full vote's, 0..1.
        top_labels: int64 [top], the most probable labels in order; None where the bag does not tell them.
        top_probabilities: float32 [top], theirs.
    """

    label: int
    label_name: str
    probabilities: np.ndarray
    exit: int
    reason: Reason
    risk: float
    top_labels: np.ndarray | None = None
    top_probabilities: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class Answers:
    """What the server said about a batch; indexing and iterating give each row as an `Answer`.

    Attributes:
        labels: int64 [rows].
        probabilities: float32 [rows, classes].
        exits: int32 [rows], NO_EXIT from a model without exits.
        reasons: int32 [rows], values of `Reason`.
        risks: float32 [rows].
        names: label names by label; empty where they are not known.
        top_labels: int64 [rows, top], the most probable labels in order; None where the bag does not tell them.
        top_probabilities: float32 [rows, top], theirs.
    """

    labels: np.ndarray
    probabilities: np.ndarray
    exits: np.ndarray
    reasons: np.ndarray
    risks: np.ndarray
    names: tuple[str, ...] = ()
    top_labels: np.ndarray | None = None
    top_probabilities: np.ndarray | None = None

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.labels)

    def __getitem__(self, row: int) -> Answer:
        """The answer to one row."""
        label = int(self.labels[row])
        return Answer(
            label=label,
            label_name=self.names[label] if 0 <= label < len(self.names) else str(label),
            probabilities=self.probabilities[row],
            exit=int(self.exits[row]),
            reason=Reason(int(self.reasons[row])),
            risk=float(self.risks[row]),
            top_labels=None if self.top_labels is None else self.top_labels[row],
            top_probabilities=None if self.top_probabilities is None else self.top_probabilities[row],
        )

    def __iter__(self) -> Iterator[Answer]:
        """The rows in order."""
        return (self[row] for row in range(len(self)))

    @classmethod
    def from_outputs(cls, outputs: Mapping[str, np.ndarray], names: tuple[str, ...] = ()) -> Answers:
        """Read the output tensors of a model.

        A plain ensemble or member, which has no exits, counts as full: exit NO_EXIT, risk 0.

        Args:
            outputs: tensor name -> array; PROBABILITIES [rows, classes] at least, the others [rows, 1].
            names: label names by label.

        Raises:
            ServingError: PROBABILITIES is missing, or the tensors disagree on the number of rows.
        """
        probabilities = outputs.get(PROBABILITIES)
        if probabilities is None or probabilities.ndim != 2:
            shape = None if probabilities is None else probabilities.shape
            raise ServingError(
                f"answer without {PROBABILITIES} [rows, classes]: got {shape}, outputs {sorted(outputs)}"
            )
        rows = len(probabilities)
        return cls(
            labels=_column(outputs, LABEL, rows, np.int64, probabilities.argmax(axis=1) if rows else 0),
            probabilities=probabilities.astype(np.float32, copy=False),
            exits=_column(outputs, EXIT, rows, np.int32, NO_EXIT),
            reasons=_column(outputs, REASON, rows, np.int32, Reason.FULL),
            risks=_column(outputs, RISK, rows, np.float32, 0.0),
            names=names,
            top_labels=outputs.get(TOP_LABELS),
            top_probabilities=outputs.get(TOP_PROBABILITIES),
        )


def _column(
    outputs: Mapping[str, np.ndarray], name: str, rows: int, dtype: type, otherwise: np.ndarray | float
) -> np.ndarray:
    """An output as [rows], or `otherwise` in every row where the model has no such output."""
    output = outputs.get(name)
    if output is None:
        return np.broadcast_to(np.asarray(otherwise), (rows,)).astype(dtype)
    if output.size != rows:
        raise ServingError(f"answer with {rows} rows of {PROBABILITIES} but {name} of shape {output.shape}")
    return output.reshape(rows).astype(dtype, copy=False)
