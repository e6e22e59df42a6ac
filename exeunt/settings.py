"""Exit settings: what an operator may choose, in the bag file's `[exit]` table, the manifest and config.pbtxt.

One dataclass, one set of checks; the three places hold the same keys.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from exeunt.errors import ConfigError, check_known

TUNERS = ("static", "patience", "hill_climb", "budget")
CONFIDENCES = ("margin", "max_probability", "entropy")
ON_FAILURE = ("error", "best_vote")
FEEDBACK = ("all", "auto")
GEARS = ("auto", "exits", "lean", "plain", "stages")
STORES = ("redis", "rediss")


@dataclass(frozen=True, slots=True)
class Settings:
    """How answers may leave. Every field is a key of the bag file's `[exit]` table.

    Attributes:
        tuner: what decides; one of TUNERS.
        tuner_options: keyword arguments of that tuner.
        max_loss: promised share of answers that may differ from the full vote, 0..1.
        confidence: score of a vote; one of CONFIDENCES.
        lossless: release a label that the missing members can no longer change.
        shadow_share: share of tickets that ask for every tap, so that inactive exits have data, 0..1.
        service_classes: name -> promised loss of that class; requests without a class belong to "".
        max_unconfirmed_rows: most rows that left early and still await the full vote.
        max_tickets: most batches in flight; must stay below Triton's BLS thread pool.
        bag_call_s: mode "ensemble": a call of the members that has no answer after so long is taken for lost, and made
            once more; 0 = 30 seconds, or longer where the members take long.
        max_waiting_rows: most rows waiting for a ticket; newcomers beyond get UNAVAILABLE.
        max_wait_ms: newcomers that could not be begun within this time are refused at once; 0 = half a second, or ten
            times the full ensemble's latency where that is longer.
        on_failure: "error" answers with the failing model's error, "best_vote" with the newest vote, marked degraded;
            every batch then asks for the exits, those of requests with exit = "never" too.
        deadline_ms: deadline of requests that name none; 0 = none.
        workers: mode "engine": segments that run at a time; 0 = one per core that the process may keep busy; a
            container's limit counts.
        intra_op_threads: mode "engine": threads within one segment; 0 = chosen at export, from measured times.
        providers: mode "engine": onnxruntime's execution providers, best first, separated by commas.
        least_finish_probability: where answered inputs are tossed, the lowest probability with which one is finished.
        feedback: which answered inputs are finished, so that the tuner learns from them: "all", a share of them (at
            least least_finish_probability), or "auto": as many as the tuner needs.
        gear: whether batches ask for the exits, and in mode "ensemble" run their members in stages; one of GEARS.
            "auto": what answers soonest, by measurement and load.
        learn_ramps: tuner "budget": ramps learn from finished rows (exeunt/learning).
        learn_cpu_share: share of one core that learning may take over time.
        learn_memory_mb: most megabytes (10^6 bytes) of finished rows that are kept to learn from.
        learn_max_age_s: finished rows are wiped at this age.
        learn_keep_rows: finished rows are kept in `state_dir` over restarts; else in memory only.
        drain_s: how long a stop waits for answers in flight.
        state_dir: folder of learnt state, status and control files; "" keeps nothing.
        state_url: store that replicas share, redis://[USER@]HOST[:PORT][/NUMBER], or rediss:// for TLS; "" has none.
            The password comes from the file $EXEUNT_STATE_PASSWORD_FILE, or from $EXEUNT_STATE_PASSWORD.
        records_dir: folder of recorded feedback (Parquet); "" records nothing.
        seed: of the controller's coins.
    """

    tuner: str = "budget"
    tuner_options: dict[str, Any] = field(default_factory=dict)
    max_loss: float = 0.01
    confidence: str = "margin"
    lossless: bool = True
    shadow_share: float = 0.02
    service_classes: dict[str, float] = field(default_factory=dict)
    max_unconfirmed_rows: int = 256
    max_tickets: int = 16
    bag_call_s: float = 0.0
    max_waiting_rows: int = 4096
    max_wait_ms: float = 0.0
    on_failure: str = "error"
    deadline_ms: float = 0.0
    workers: int = 0
    intra_op_threads: int = 0
    providers: str = "CPUExecutionProvider"
    least_finish_probability: float = 0.1
    feedback: float | str = "all"
    gear: str = "auto"
    learn_ramps: bool = False
    learn_cpu_share: float = 0.02
    learn_memory_mb: float = 64.0
    learn_max_age_s: float = 86_400.0
    learn_keep_rows: bool = False
    drain_s: float = 10.0
    state_dir: str = ""
    state_url: str = ""
    records_dir: str = ""
    seed: int = 0

    @property
    def classes_of_service(self) -> tuple[str, ...]:
        """Names of the classes of service; index 0 is "", the class of requests that name none."""
        return ("", *self.service_classes)

    @property
    def class_losses(self) -> tuple[float, ...]:
        """Promised loss by index in `classes_of_service`."""
        return (self.max_loss, *self.service_classes.values())

    @property
    def falls_back(self) -> bool:
        """Whether rows whose full vote fails get the best vote there is."""
        return self.on_failure == "best_vote"

    @classmethod
    def from_mapping(cls, table: Mapping[str, Any], where: str) -> Settings:
        """Build settings from a table.

        Args:
            table: key -> value, as TOML or JSON gives them.
            where: file and section, for messages.

        Raises:
            ConfigError: unknown key, wrong type, or a value that is not allowed.
        """
        fields = {field_.name: field_ for field_ in dataclasses.fields(cls)}
        for key in table:
            check_known("key", key, fields, where)
        settings = cls(**{key: typed(value, str(fields[key].type), f"{where}: {key}") for key, value in table.items()})
        settings.check(where)
        return settings

    def overridden(self, parameters: Mapping[str, str], where: str) -> Settings:
        """These settings with some values replaced, as config.pbtxt's parameters give them.

        Args:
            parameters: key -> text; numbers, booleans and tables as JSON, other text as it is.
            where: file, for messages.

        Raises:
            ConfigError: unknown key, wrong type, or a value that is not allowed.
        """
        return Settings.from_mapping(self.to_mapping() | {k: json_or_text(v) for k, v in parameters.items()}, where)

    def to_mapping(self) -> dict[str, Any]:
        """The settings as a table that `from_mapping` reads back."""
        return dataclasses.asdict(self)

    def check(self, where: str) -> None:
        """Raise ConfigError, naming `where`, key, value and what is allowed, unless every value is allowed."""
        check_known("tuner", self.tuner, TUNERS, where)
        check_known("confidence", self.confidence, CONFIDENCES, where)
        check_known("on_failure", self.on_failure, ON_FAILURE, where)
        check_known("gear", self.gear, GEARS, where)
        self._check_shares(where)
        check_state_url(self.state_url, where)
        self._check_learning(where)
        for key, (least, most) in _BOUNDS.items():
            value = getattr(self, key)
            if not least <= value <= most:
                kind = "a whole number" if isinstance(value, int) else "a number"
                raise ConfigError(f"{where}: {key} = {value!r}; allowed: {kind} from {least} to {most}")
        if "" in self.service_classes:
            raise ConfigError(
                f"{where}: service_classes: a class needs a name; requests without one fall under max_loss"
            )

    def _check_learning(self, where: str) -> None:
        """Only the budget tuner knows what to do when exits change, and replicas that share what exits say cannot."""
        if self.learn_ramps and self.tuner != "budget":
            raise ConfigError(
                f"{where}: learn_ramps = true with tuner = {self.tuner!r}; allowed: with tuner = 'budget'"
            )
        if self.learn_ramps and self.state_url:
            raise ConfigError(
                f"{where}: learn_ramps = true with state_url: replicas would share what exits say, with ramps that "
                "differ; allowed: one of them"
            )

    def _check_shares(self, where: str) -> None:
        shares = {"max_loss": self.max_loss, "shadow_share": self.shadow_share}
        shares |= {f"service_classes.{name}": loss for name, loss in self.service_classes.items()}
        for key, value in shares.items():
            if not (isinstance(value, int | float) and 0 <= value <= 1):
                raise ConfigError(f"{where}: {key} = {value!r}; allowed: a number from 0 to 1")
        if not 0 < self.least_finish_probability <= 1:
            wrong = f"{where}: least_finish_probability = {self.least_finish_probability!r}"
            raise ConfigError(f"{wrong}; allowed: a number above 0 and up to 1")
        check_feedback(self.feedback, self.least_finish_probability, where)


def check_feedback(feedback: object, least: float, where: str) -> None:
    """Raise ConfigError, naming `where`, unless `feedback` is what the setting of that name may be."""
    number = isinstance(feedback, int | float) and not isinstance(feedback, bool) and least <= feedback <= 1
    if not (number and feedback) and feedback not in FEEDBACK:
        allowed = f'"all", "auto", or a number from {least:g} (least_finish_probability) to 1'
        raise ConfigError(f"{where}: feedback = {feedback!r}; allowed: {allowed}")


def check_state_url(url: str, where: str) -> None:
    """Raise ConfigError, naming `where`, unless `url` may be a store's address. The message never holds a password."""
    if not url:
        return
    try:
        parts = urlsplit(url)
        good = parts.scheme in STORES and bool(parts.hostname) and (parts.port or 1) > 0
        good = (
            good and not (parts.query or parts.fragment) and (not parts.path.strip("/") or parts.path[1:].isdecimal())
        )
        secret = parts.password is not None
    except ValueError:  # of a port or an address
        good = secret = False
    if secret:
        wrong = f"{where}: state_url holds a password, which everybody can read who reads the settings"
        raise ConfigError(f"{wrong}; put it into a file and name that in $EXEUNT_STATE_PASSWORD_FILE")
    if not good:
        without_user = url.rsplit("@", 1)[-1]
        allowed = "redis://[USER@]HOST[:PORT][/NUMBER], the same with rediss://, or nothing"
        raise ConfigError(f"{where}: state_url = {without_user!r}; allowed: {allowed}")


_BOUNDS: dict[str, tuple[float, float]] = {  # key -> least, most; NaN is outside of all of them
    "max_unconfirmed_rows": (0, 10**9),
    "max_tickets": (1, 65_536),
    "bag_call_s": (0.0, 86_400.0),
    "max_waiting_rows": (1, 10**9),
    "max_wait_ms": (0.0, 86_400_000.0),
    "workers": (0, 4096),
    "intra_op_threads": (0, 4096),
    "seed": (0, 2**63 - 1),
    "learn_cpu_share": (0.001, 1.0),
    "learn_memory_mb": (1.0, 1e6),
    "learn_max_age_s": (1.0, 1e9),
    "deadline_ms": (0.0, 86_400_000.0),
    "drain_s": (0.0, 86_400.0),
}


def json_or_text(text: str) -> Any:
    """The value that a text is in JSON, or else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


KINDS: dict[str, tuple[Any, str]] = {  # name of a type -> what isinstance takes, in words
    "str": ((str,), "a text"),
    "float": ((int, float), "a number"),
    "float | str": ((int, float, str), "a number or a text"),
    "int": ((int,), "a whole number"),
    "bool": ((bool,), "true or false"),
    "list": ((list,), "a list"),
}


def typed(value: Any, kind: str, where: str) -> Any:
    """`value`, if it is of a kind, a key of KINDS; a number as a float where that is asked for.

    Raises:
        ConfigError: it is not; names `where`, which ends in the key, the value and what is allowed.
    """
    if kind.startswith("dict"):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where} = {value!r}; allowed: a table")
        return dict(value)
    types, words = KINDS[kind]
    if not isinstance(value, types) or (isinstance(value, bool) and kind != "bool"):
        raise ConfigError(f"{where} = {value!r}; allowed: {words}")
    return value * 1.0 if kind == "float" else value
