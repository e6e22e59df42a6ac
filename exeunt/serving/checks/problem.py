"""One thing that is wrong with a repository."""

from __future__ import annotations

from dataclasses import dataclass

AGAIN = "export the bag again"


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem, where it is, and what to do about it.

    Attributes:
        file: path in the repository; "" where the text names it.
        key: what in the file: a tensor, a step, a field; "" for the whole file.
        what: what is there and what should be.
        cure: what to do.
    """

    file: str
    key: str
    what: str
    cure: str

    def __str__(self) -> str:
        place = ": ".join(part for part in (self.file, self.key) if part)
        return f"{place}: {self.what}; {self.cure}" if place else f"{self.what}; {self.cure}"
