"""Whether Triton takes each reply of this process for the request that it answers.

If a process is stopped for over a second, without a sign of life, Triton drops its request but leaves it in the
process's queue (read in the Python backend's sources, r24.10 to r26.07). On waking, the process answers it, and this
and every later reply goes to the wrong request, until the process ends: callers get answers without outputs, or
another's, and requests are read from memory that holds something else by then.

So a process that stood still holds back whatever it would send, asks itself something through Triton, and goes on when
the answer is that of this very question. If it is not, the process ends: whoever supervises it starts the server again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from exeunt.hosting.calls.bag_calls import draw_secret
from exeunt.hosting.guard import Guard

BEAT_S = 0.2
# a second without a sign of life is too long for Triton, and the last one may be 0.3 s old when a process stops
DOUBT_S = 0.6
RECEIVED_WITHIN_S = 15.0  # the question, among other requests
ANSWERED_WITHIN_S = 2.0  # from then on; held callers wait for it, and for a new server
REFUSED_S = 1.0  # answered and not received for so long: refused
LOOK_S = 0.01

Clocks = tuple[float, float]  # monotonic and of the calendar, seconds: Triton waits by the second, which may jump


def clocks() -> Clocks:
    """What time it is."""
    return time.monotonic(), time.time()


@dataclass(slots=True)
class Question:
    """A question that the process asks itself through Triton.

    Attributes:
        word: nobody else knows it; the right answer holds it.
        received: it has come in.
        answered: Triton has answered, or refused to pass it on.
        answer: what Triton said.
    """

    word: str
    received: threading.Event = field(default_factory=threading.Event)
    answered: threading.Event = field(default_factory=threading.Event)
    answer: str = ""


class InStep:
    """Sends replies, or holds them back while Triton may be out of step.

    Args:
        ask: sends a word through Triton to this process, and returns the answer; may wait for ever.
        end: ends the process; takes the reason.
        guard: of replies that were held back.
        say: takes a line for the operator.
        now: the clocks.
    """

    def __init__(
        self,
        ask: Callable[[str], str],
        end: Callable[[str], None],
        guard: Guard,
        say: Callable[[str], None],
        now: Callable[[], Clocks] = clocks,
    ) -> None:
        self._ask = ask
        self._end = end
        self._guard = guard
        self._say = say
        self._now = now
        self._beat = now()
        self._doubt = False
        self._unsent_replies: list[Callable[[], object]] = []
        self._question: Question | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="exeunt-step", daemon=True)

    def start(self) -> None:
        """Begin to watch; while a model loads, nothing can be asked of it."""
        self._beat = self._now()
        self._thread.start()

    def close(self) -> None:
        """Stop watching; what is held back then is never sent."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def in_doubt(self) -> bool:
        """Whether Triton may be out of step with this process."""
        return self._doubt or self._pause_s(self._now()) > DOUBT_S

    @property
    def asks(self) -> bool:
        """A question is under way."""
        return self._question is not None

    def recognises(self, word: str) -> bool:
        """Whether a word that came in is that of the question under way."""
        question = self._question
        if question is None or word != question.word:
            return False
        question.received.set()
        return True

    def send(self, reply: Callable[[], object]) -> None:
        """Call `reply` now, or when the doubt is over."""
        if self.in_doubt:
            with self._lock:
                if self.in_doubt:
                    self._unsent_replies.append(reply)
                    return
        reply()

    def _watch(self) -> None:
        while not self._stop.wait(BEAT_S):
            pause_s = self._take_beat()
            if pause_s <= DOUBT_S:
                continue
            self._doubt = True
            while (problem := self._problem()) is None and not self._stop.is_set():
                pass  # asked again
            if problem:
                self._end(f"this process stood still for {pause_s:.1f} s, and Triton is out of step with it: {problem}")
            elif problem is not None:
                self._say(f"stood still for {pause_s:.1f} s; Triton is in step")
                self._release()

    def _pause_s(self, now: Clocks) -> float:
        """For how long this process has not been seen alive, by the clock that says more."""
        return max(now[0] - self._beat[0], now[1] - self._beat[1])

    def _take_beat(self) -> float:
        """This process is alive; how long ago it was seen so before, seconds."""
        now = self._now()  # one look: where the process stops after it, the next beat shows that
        pause_s = self._pause_s(now)
        self._beat = now
        return pause_s

    def _problem(self) -> str | None:
        """Ask, and say what is wrong with the answer: "" = nothing; None = it stood still meanwhile: ask again.

        A question that Triton refuses to pass on proves nothing, and holds nothing up: while a model loads, what is
        held back is the reply to its warm-up, and when a server ends there is nobody else to be taken for.
        """
        question = self._question = Question(str(draw_secret()))
        threading.Thread(target=self._put, args=(question,), name="exeunt-question", daemon=True).start()
        not_received_s = unanswered_s = refused_s = 0.0  # while awake
        while not self._stop.wait(LOOK_S):
            if self._take_beat() > DOUBT_S:
                return None
            answered = question.answered.is_set()
            if answered and question.word in question.answer:
                return ""
            if question.received.is_set():
                if answered:
                    return "it answered one question with the answer to another"
                unanswered_s += LOOK_S
            else:
                not_received_s += LOOK_S
                refused_s += LOOK_S * answered
            if refused_s > REFUSED_S:
                return ""
            if unanswered_s > ANSWERED_WITHIN_S:
                return "it did not pass an answer on"
            if not_received_s > RECEIVED_WITHIN_S:
                return "it did not pass a question on"
        return None

    def _put(self, question: Question) -> None:
        self._guard.run("question", lambda: self._answer(question))
        question.answered.set()

    def _answer(self, question: Question) -> None:
        question.answer = self._ask(question.word)

    def _release(self) -> None:
        """Send what was held back, in its order."""
        with self._lock:
            self._question = None
            self._doubt = False
            replies, self._unsent_replies = self._unsent_replies, []
        for reply in replies:
            self._guard.run("reply", reply)
