"""Ensemble mode: the ramps' heads at the taps, where the exit controller holds them and not NAME_bag.

A tap brings pooled features; a thread of a pool makes votes of them, by the heads of the ticket, and hands these to the
controller. So heads can change while the server runs, without a model being loaded again, and each ticket keeps the
heads that it was admitted with. Nobody waits for a head under the controller's lock or in `execute()`.

    tap -> execute() --features at exits that are asked for--> a thread here --votes--> controller
                     --finished members' votes alone--------------------------------> controller
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path

import numpy as np

from exeunt.bag_stages import Pair, ramp_pairs, tap_tensors
from exeunt.cores import usable_cores
from exeunt.deciding.heads import Head
from exeunt.deciding.ticket import Ticket
from exeunt.errors import ConfigError
from exeunt.hosting.calls.bag_calls import BagCall, Brought
from exeunt.hosting.guard import Guard
from exeunt.learning.files import HEADS_FILE, load_exported
from exeunt.manifest import Manifest

MOST_THREADS = 4  # numpy's products let other threads run; more would take the members' cores

Arrived = Callable[[int, Brought, np.ndarray | None], None]


class HeadsAtTaps:
    """Makes votes of the features that taps bring.

    Args:
        manifest: of a bag whose heads the controller holds.
        exported: the exported heads; a ramp that has none is a member's own exit, whose features are its probabilities.
        guard: of the threads.

    Raises:
        ConfigError: a ramp has neither a head nor features that can be probabilities.
    """

    def __init__(self, manifest: Manifest, exported: Mapping[Pair, Head], guard: Guard) -> None:
        self._exported = dict(exported)
        self._guard = guard
        self._ramps = ramp_pairs(manifest)
        self._ramps_at = [frozenset(manifest.ramps(number)) for number in range(len(manifest.exits))]
        self._requested_ramps: dict[bytes, frozenset[Pair]] = {}
        self._pool = ThreadPoolExecutor(min(MOST_THREADS, usable_cores()), "exeunt-heads")
        brought = tap_tensors(manifest)
        for pair in sorted(self._ramps - self._exported.keys()):
            if brought[pair].dims != (manifest.classes,):
                raise ConfigError(f"{HEADS_FILE}: no head for {brought[pair].name}; export again")

    @classmethod
    def load(cls, manifest: Manifest, folder: Path, guard: Guard) -> HeadsAtTaps:
        """With the heads in the version folder of NAME_exit.

        Raises:
            ConfigError: the file of heads is missing, damaged, or does not fit the bag.
        """
        return cls(manifest, load_exported(folder, manifest), guard)

    def pass_on(self, call: BagCall, brought: Brought, arrived: Arrived) -> None:
        """Hand on what a tap has brought of one ticket, in the order in which its taps came; never waits.

        Args:
            call: that the tap belongs to, made for one ticket.
            brought: votes of finished members, features at ramps.
            arrived: takes votes; see ControllerHost.arrived.
        """
        assert call.ticket is not None
        hand_on = partial(self._hand_on, call, brought, arrived)
        passing = [earlier for earlier in call.passing if not earlier.done()]
        if passing or self._requested(call.ticket) & brought.keys():
            call.passing = [*passing, self._pool.submit(self._in_turn, passing, hand_on)]
        else:
            hand_on()

    def votes(self, ticket: Ticket, brought: Brought) -> Brought:
        """The votes that a ticket requests, made of what its taps brought by its heads.

        Args:
            ticket: whose exits and heads count.
            brought: (member, depth) -> float32 [rows, classes], of ramps float32 [rows, f].

        Returns:
            (member, depth) -> float32 [rows, classes]; NaN where features are not finite.
        """
        requested, heads = self._requested(ticket), ticket.heads.table
        votes = {}
        for pair, array in brought.items():
            if pair not in self._ramps:
                votes[pair] = array
            elif pair in requested:
                head = heads.get(pair) or self._exported.get(pair)
                with np.errstate(over="ignore", invalid="ignore"):  # rows that are not finite stay so
                    votes[pair] = array if head is None else head.probabilities(array)
        return votes

    def full_vote(self, brought: Brought) -> Brought:
        """The finished members' votes alone."""
        return {pair: array for pair, array in brought.items() if pair not in self._ramps}

    def close(self) -> None:
        """Stop the threads when they have done what is left."""
        self._pool.shutdown()

    def _requested(self, ticket: Ticket) -> frozenset[Pair]:
        """Ramps whose votes a ticket asks for."""
        key = ticket.requested_exits.tobytes()
        if key not in self._requested_ramps:
            ramps = (self._ramps_at[number] for number in np.flatnonzero(ticket.requested_exits))
            self._requested_ramps[key] = frozenset[Pair]().union(*ramps)
        return self._requested_ramps[key]

    def _in_turn(self, before: list[Future[None]], hand_on: Callable[[], None]) -> None:
        wait(before)  # they were begun earlier, so somebody is at work on the first
        self._guard.run("heads", hand_on)

    def _hand_on(self, call: BagCall, brought: Brought, arrived: Arrived) -> None:
        ticket = call.ticket
        assert ticket is not None
        if ticket.over:
            return
        votes = self.full_vote(brought)  # whatever becomes of heads, nobody waits for ever
        self._guard.run("heads", lambda: votes.update(self.votes(ticket, brought)))
        if votes:
            arrived(ticket.id, votes, call.ticket_rows)
