"""One life's messages to the ledger: each deposit and each withdrawal counts exactly once, whatever messages get lost.

At most one message is under way. Until it is answered it is sent again unchanged, so that it counts once. A deposit is
taken from the account when the message is written; a withdrawal is added when the reply arrives. So an allowed loss is
never counted in two places.
"""

from __future__ import annotations

from exeunt.sharing.ledger import Message, Reply
from exeunt.tuning.error_budget.class_budget import ClassBudget

FIRST_SHARE = 0.5  # of a full account: what a newcomer asks for
NEEDY_SHARE = 0.25  # below it a life asks for savings up to it
SPARE_SHARE = 0.75  # above it a life lends what is above, while fewer savings rest than one account holds
MOST_AT_REST = 4.0  # full accounts that may rest in the store


class Life:
    """One life of one account.

    Args:
        life: its id, unique for ever.
        was: id of the life whose account this one goes on with, or "".
        covered: debt of that life which is in the account already, from its files.
    """

    def __init__(self, life: str, was: str = "", covered: float = 0.0) -> None:
        self.id = life
        self._was = was
        self._covered = covered
        self._number = 0
        self._run_id = ""
        self._at_rest = 0.0
        self._pending: Message | None = None
        self.over = False  # its end was answered: it says nothing more

    @property
    def pending(self) -> Message | None:
        """The message that has not been answered."""
        return self._pending

    def beat(self, account: ClassBudget) -> Message:
        """The message to send now: the one that was not answered, or a new one; may take savings from the account."""
        if self._pending is None:
            self._number += 1
            capacity = account.capacity
            lent, want = 0.0, 0.0
            if self._number == 1:
                want = max(0.0, FIRST_SHARE * capacity - max(0.0, account.reserve))
            else:
                lent = max(0.0, min(account.reserve - SPARE_SHARE * capacity, capacity - self._at_rest))
                want = max(0.0, NEEDY_SHARE * capacity - account.reserve)
            if lent:
                account.hand_over(-lent)
            self._pending = self._message(account, deposit=lent, want=want)
        return self._pending

    def end(self, account: ClassBudget) -> Message | None:
        """The last message, which hands over everything; None while another has not been answered.

        Early answers that still await their full vote are handed over as lost. The account changes when the reply
        comes: until then nothing may leave early any more, and what is saved of the account must keep its debt and
        must not keep its savings.
        """
        if self._pending is not None and not self._pending.final:
            return None
        if self._pending is None:
            self._number += 1
            self._pending = self._message(account, deposit=account.reserve - account.unconfirmed, final=True)
        return self._pending

    def answered(self, reply: Reply, account: ClassBudget) -> None:
        """Book a reply; one that does not answer the message under way changes nothing."""
        message = self._pending
        if message is None or reply.number != message.number:
            return
        losses = reply.savings - reply.debt - max(0.0, reply.inherited - self._covered)
        if message.final:
            losses -= message.deposit
            self.over = True
        if losses:
            account.hand_over(losses)
        self._pending = None
        self._was, self._covered = "", 0.0
        self._run_id, self._at_rest = reply.run_id, reply.at_rest

    def _message(self, account: ClassBudget, deposit: float, want: float = 0.0, final: bool = False) -> Message:
        return Message(
            life=self.id,
            number=self._number,
            run_id=self._run_id,
            owed=max(0.0, account.unconfirmed - account.reserve),
            deposit=deposit,
            want=want,
            most=MOST_AT_REST * account.capacity,
            final=final,
            was=self._was,
        )
