"""What a store does for the replicas of a bag, whatever it is made of."""

from __future__ import annotations

from typing import Protocol

from exeunt.errors import ServingError
from exeunt.sharing.ledger import Message, Reply


class StoreError(ServingError):
    """The store did not answer, or not as a store does. It may have done what it was asked all the same."""


class Store(Protocol):
    """One bag's part of a store. Every call ends within a few seconds, by a StoreError if need be."""

    def exchange(self, service_class: str, message: Message) -> Reply:
        """Have a message taken by the ledger of a class of service, exactly once."""

    def publish(self, by: str, lesson: bytes) -> None:
        """Add a lesson for the other replicas; `by` is the life that gives it. The oldest fall out."""

    def lessons(self, after: str) -> list[tuple[str, str, bytes]]:
        """The newest lessons after a place ("" = all), oldest first: (place, by, lesson)."""

    def close(self) -> None:
        """Let go of connections."""
