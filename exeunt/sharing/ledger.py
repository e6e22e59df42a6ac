"""The ledger: what the store keeps of one class of service of one bag, and the one rule by which it changes.

Savings are losses that are still allowed. Debt is losses beyond what was earned: it must be earned back before anybody
may lose again. One life (a server from its start to its end) hands them over, the ledger keeps them, another life takes
them. Allowed losses are moved, never created:

- every message of a life has a number; one that comes twice gets the same reply and changes nothing;
- savings are void once the store is another process (its run id differs): a store that was restored from an old copy
  must not pay out again what was withdrawn after the copy. Debt stays;
- a life that was silent for too long while others spoke is dead: what it owed by its last message is now debt in the
  ledger. If it speaks again it takes back what is left of that debt, and it may hand over debt but no savings;
- debt is given out before any savings.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

DEAD_AFTER_S = 30.0  # of silence, by the ledger's clock
MOST_GAP_S = 5.0  # that clock goes on by at most so much between two messages: longer, and the store was away
KEEP_S = 86_400.0  # how long a life that is over is remembered
MOST_OVER = 200  # lives that are over, remembered at most
LEAST_SHARE = 1.0  # debt is not shared in parts smaller than one loss


@dataclass(frozen=True, slots=True)
class Message:
    """What a life says. Losses are counted as the accounts count them (1 / q).

    Attributes:
        life: id, unique for ever.
        number: 1, 2, ... in the life; a message that is sent again keeps its number and its content.
        run_id: of the store, as the life knew it when it wrote this; "" in the first message.
        owed: losses that others have to earn if this life is never heard of again, >= 0.
        deposit: losses handed over now, > 0; what the last message hands over may be debt, < 0. Already taken from the
            life's account where it is savings.
        want: savings asked for, >= 0.
        most: savings that may rest in the store.
        final: the life ends with this message.
        was: id of the life whose account this one goes on with (a restart from its files), or "".
    """

    life: str
    number: int
    run_id: str
    owed: float = 0.0
    deposit: float = 0.0
    want: float = 0.0
    most: float = 0.0
    final: bool = False
    was: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the ledger answers.

    Attributes:
        number: of the message.
        run_id: of the store.
        debt: taken by the life, >= 0: to be taken from its account.
        savings: given to the life, >= 0: to be added to it.
        inherited: what the life that it goes on with owed and nobody has taken yet, >= 0.
        at_rest: savings that rest in the store now.
    """

    number: int
    run_id: str
    debt: float = 0.0
    savings: float = 0.0
    inherited: float = 0.0
    at_rest: float = 0.0


@dataclass(frozen=True, slots=True)
class LifeRecord:
    """What is known of a life.

    Attributes:
        owed: with the life while it lives; among the debt at rest once it is over, as far as it was not taken.
        seen_s: time of its last message, by the ledger's clock.
        over: it has ended or is dead.
        reply: to its last message.
    """

    owed: float
    seen_s: float
    over: bool
    reply: Reply


@dataclass(frozen=True, slots=True)
class Ledger:
    """State of one class of service in the store.

    Attributes:
        run_id: of the store under which the savings were handed over.
        savings: at rest, >= 0.
        debt: at rest, >= 0.
        lives: id -> record.
        clock_s: the ledger's clock, seconds: as the store's, but no faster than messages come.
        heard_s: time of the last message, by the store's clock.
    """

    run_id: str
    savings: float
    debt: float
    lives: dict[str, LifeRecord]
    clock_s: float = 0.0
    heard_s: float = 0.0

    @classmethod
    def empty(cls) -> Ledger:
        """Nobody has said anything."""
        return cls("", 0.0, 0.0, {})


def exchange(ledger: Ledger, message: Message, now_s: float, run_id: str) -> tuple[Ledger, Reply]:
    """Take a message.

    Args:
        ledger: as it rests in the store.
        message: of a life.
        now_s: the store's clock, seconds.
        run_id: of the process that is the store now.

    Returns:
        the ledger as it is from now on, and the reply.
    """
    savings = ledger.savings if ledger.run_id == run_id else 0.0
    clock_s = ledger.clock_s + min(max(0.0, now_s - ledger.heard_s), MOST_GAP_S)
    last_record = ledger.lives.get(message.life)
    if last_record is not None and message.number <= last_record.reply.number:
        return replace(ledger, run_id=run_id, savings=savings), last_record.reply
    lives, debt = _bury(ledger.lives, ledger.debt, clock_s, but=message.life)

    trusted = message.run_id == run_id and last_record is not None and not last_record.over
    if last_record is not None and last_record.over:  # it is alive after all: it owes its debt itself again
        debt -= min(last_record.owed, debt)
    inherited = 0.0
    if message.was in lives and message.was != message.life:
        before = lives.pop(message.was)
        inherited = min(before.owed, debt) if before.over else before.owed
        debt -= inherited if before.over else 0.0

    owed = message.owed
    if message.deposit < 0.0:
        debt -= message.deposit
        owed = -message.deposit
    elif trusted:
        savings = max(savings, min(message.most, savings + message.deposit))
    debt_share = lent = 0.0
    if not message.final:
        living = 1 + sum(not record.over for life, record in lives.items() if life != message.life)
        debt_share = min(debt, max(LEAST_SHARE, debt / living))
        debt -= debt_share
        lent = min(message.want, savings) if debt_share == 0.0 else 0.0
        savings -= lent
    reply = Reply(message.number, run_id, debt_share, lent, inherited, savings)
    lives[message.life] = LifeRecord(owed + debt_share, clock_s, message.final, reply)
    return Ledger(run_id, savings, debt, lives, clock_s, now_s), reply


def _bury(lives: dict[str, LifeRecord], debt: float, clock_s: float, but: str) -> tuple[dict[str, LifeRecord], float]:
    """Declare silent lives over, and add what they owed to the debt; forget the oldest that are over."""
    records: dict[str, LifeRecord] = {}
    for life, record in lives.items():
        silent_s = clock_s - record.seen_s
        if not record.over and silent_s > DEAD_AFTER_S and life != but:
            debt += record.owed
            record = replace(record, over=True)
        if not (record.over and silent_s > KEEP_S) or life == but:
            records[life] = record
    over = sorted((record.seen_s, life) for life, record in records.items() if record.over and life != but)
    for _, life in over[:-MOST_OVER]:
        del records[life]
    return records, debt
