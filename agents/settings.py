"""Every setting of a worker, declared once: type, default, unit, sentence, environment name."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Self

from schemas.errors import UsageError

JOIN_STORES: Final = ("memory", "rocks")


def setting(
    default: Any,
    says: str,
    *,
    unit: str = "",
    secret: bool = False,
    low: int | None = None,
    high: int | None = None,
    each: str = "",
) -> Any:
    """Declare a setting; `low` and `high` bound a number, each word of a text has the form `each`."""
    metadata = {"says": says, "unit": unit, "secret": secret, "low": low, "high": high, "each": each}
    return field(default=default, repr=not secret, metadata=metadata)


def _data_home() -> str:
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return str(Path(base) / "riverloop")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a worker is told; each is also read from the environment as RIVERLOOP_<NAME>.

    A secret is also read from the file that RIVERLOOP_<NAME>_FILE names.
    """

    bootstrap: str = setting("", "Address of the Kafka cluster: HOST:PORT, or several with commas.")
    kafka: str = setting(
        "",
        "Further librdkafka properties, one KEY=VALUE per line: TLS, SASL, anything.",
        secret=True,
    )
    group: str = setting("riverloop", "Consumer group; workers of one group share the partitions.")
    slot: str = setting(
        "",
        "Stable name of this worker among its group, part of its transactional ids: a restarted worker fences "
        "its dead self by it. Empty: the first free number on this machine.",
    )
    http_host: str = setting("127.0.0.1", "Address that HTTP listens on.")
    http_token: str = setting(
        "",
        "Token that every HTTP call which changes something must carry, as Authorization: Bearer TOKEN; several, "
        "separated by white space, are all taken. Empty: none is asked for.",
        secret=True,
    )
    serve_token: str = setting(
        "",
        "Token that asking for predictions over HTTP needs; an http_token is taken, too. Empty: none is asked "
        "for.",
        secret=True,
    )
    http_open: bool = setting(
        False,
        "HTTP may listen beyond this machine without an http_token: whoever reaches it may report outcomes.",
    )
    http_port: int = setting(0, "Port that HTTP listens on; 0: any free one.", low=0, high=65_535)
    http_hosts: str = setting(
        "",
        "Further names under which HTTP is called, such as that of a proxy which passes it on, separated by white "
        "space. On a loopback address no others are taken, but for those of the loopback interface; elsewhere any "
        "name is, unless this is set.",
        each=r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+",
    )
    http_origins: str = setting(
        "",
        "Origins of web pages elsewhere that may call and read the answers (CORS), separated by white space, such "
        "as https://app.example.com. Empty: none may.",
        each=r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?",
    )
    http_connections: int = setting(
        256,
        "HTTP connections at once, and no more than half of the files that the process may open; a further one "
        "takes the place of one without a call.",
        unit="connections",
        low=16,
        high=65_536,
    )
    live_pages_per_client: int = setting(
        20,
        "Live pages that one address may have open at once, of 100 in all; a further one takes the place of its "
        "oldest. Behind a proxy all callers have one address.",
        unit="pages",
        low=1,
        high=100,
    )
    snapshots: str = setting(
        "", "Where snapshots lie: an fsspec URI that all workers see. Empty: DATA/snapshots."
    )
    snapshot_every: int = setting(10_000, "A snapshot is written after so many entries.", unit="entries")
    snapshots_kept: int = setting(10, "So many snapshots of each model are kept.", unit="snapshots")
    snapshot_key: str = setting("", "Key that signs manifests; unsigned ones are then refused.", secret=True)
    token_key: str = setting("", "Key of the tokens that stand for personal data.", secret=True)
    data: str = setting("", "Folder for what a worker keeps on this machine. Empty: the user's data folder.")
    join_store: str = setting(
        "memory",
        "Where the join's state lies, beside its changelog: memory, or rocks for a folder under DATA/join when it "
        "may outgrow memory.",
    )
    join_cache_mb: int = setting(
        64, "Memory of each task's join state in rocks, all partitions together.", unit="MiB"
    )
    max_batch: int = setting(
        1000, "At most so many records are processed in one transaction.", unit="records"
    )
    idle_ms: int = setting(
        2_000, "Without predictions for so long, stream time advances by the time elapsed.", unit="ms"
    )
    metrics_every_ms: int = setting(1_000, "Metrics are published so often while entries come.", unit="ms")
    remembered: int = setting(
        100_000, "So many predictions made over HTTP are remembered for look-up.", unit="predictions"
    )
    max_body: int = setting(
        1_048_576, "Largest HTTP request body.", unit="bytes", low=1_024, high=64 * 1_048_576
    )
    max_list: int = setting(1_000, "Most requests in one HTTP call.", unit="requests", low=1, high=100_000)
    lockstep: bool = setting(
        False, "Time advances by punctuations only: for replay against River's evaluator."
    )
    json_records: bool = setting(False, "Predictions are written as JSON, not as Avro.")
    log_level: str = setting("INFO", "DEBUG, INFO, WARNING or ERROR.")

    @classmethod
    def load(cls, given: Mapping[str, Any] | None = None, env: Mapping[str, str] | None = None) -> Self:
        """Read settings: as given, else from the environment, else the default.

        Raises
        ------
        UsageError
            Naming the setting whose value is not of its type.
        """
        env = os.environ if env is None else env
        given = {key: value for key, value in (given or {}).items() if value is not None}
        told: dict[str, Any] = {}
        for each in fields(cls):
            name = environment_name(each.name)
            if each.name in given:
                told[each.name] = given[each.name]
            elif text := from_environment(each.name, env):
                told[each.name] = _convert(name, text, type(each.default))
        if told.get("join_store", "memory") not in JOIN_STORES:
            name = environment_name("join_store")
            raise UsageError(f"{name}={told['join_store']!r} must be one of {', '.join(JOIN_STORES)}")
        for each in fields(cls):
            if each.name in told:
                _check(environment_name(each.name), told[each.name], each.metadata)
        return cls(**told)

    @property
    def data_folder(self) -> Path:
        """Give the folder for what a worker keeps on this machine."""
        return Path(self.data or _data_home())

    @property
    def snapshot_uri(self) -> str:
        """Give the place of the snapshots."""
        return self.snapshots or str(self.data_folder / "snapshots")

    def join_folder(self, slot: str, task: str) -> Path | None:
        """Give the folder of the join's state; None when it lies in memory."""
        if self.join_store == "memory":
            return None
        return self.data_folder / "join" / self.group / slot / task

    @property
    def properties(self) -> list[str]:
        """Give the further librdkafka properties as KEY=VALUE."""
        return [part.strip() for part in self.kafka.splitlines() if part.strip()]


SECRETS: Final = frozenset(each.name for each in fields(Settings) if each.metadata["secret"])
FILE: Final = "_FILE"
"""With it behind its name, a variable names the file that holds the secret, as containers are given them."""
MAX_SECRET: Final = 65_536


def environment_name(name: str) -> str:
    """Give the name of a setting in the environment."""
    return f"RIVERLOOP_{name.upper()}"


def from_environment(name: str, env: Mapping[str, str] | None = None) -> str:
    """Give what the environment says of a setting: its text, or that of the file which it names for a secret.

    Raises
    ------
    UsageError
        When both are given, or the file cannot be read; the secret is not repeated.

    Examples
    --------
    >>> from_environment("group", {"RIVERLOOP_GROUP": "blue"})
    'blue'
    """
    env = os.environ if env is None else env
    variable = environment_name(name)
    text, file = env.get(variable, ""), env.get(variable + FILE, "") if name in SECRETS else ""
    if not file:
        return text
    if text:
        raise UsageError(f"{variable} and {variable}{FILE} are both set: give one of them")
    try:
        with Path(file).open("rb") as opened:
            data = opened.read(MAX_SECRET + 1)
        if len(data) > MAX_SECRET:
            raise UsageError(f"{variable}{FILE}: {file} has more than {MAX_SECRET:,} bytes: it is no secret")
        return data.decode().strip()
    except OSError as error:
        raise UsageError(f"{variable}{FILE}: {file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{variable}{FILE}: {file} is not valid UTF-8") from None


def _check(name: str, value: Any, declared: Mapping[str, Any]) -> None:
    """Hold a value against the bounds of its declaration."""
    low, high = declared["low"], declared["high"]
    if low is not None and not low <= value <= high:
        raise UsageError(f"{name}={value} must lie between {low:,} and {high:,}")
    if declared["each"]:
        for word in value.split():
            if not re.fullmatch(declared["each"], word):
                raise UsageError(f"{name}: {word[:100]!r} is not of the form {declared['each']}")


def _convert(name: str, text: str, kind: type) -> Any:
    if kind is bool:
        known = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
        if text.lower() not in known:
            raise UsageError(f"{name}={text!r} must be true or false")
        return known[text.lower()]
    if kind is int:
        try:
            return int(text)
        except ValueError:
            raise UsageError(f"{name}={text!r} must be a whole number") from None
    return text
