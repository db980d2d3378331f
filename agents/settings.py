"""Every setting of a worker, declared once: type, default, unit, sentence, environment name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Self

from agents.declared import MIN_KEY, NAME, check, convert, environment_name, setting
from schemas.errors import UsageError

JOIN_STORES: Final = ("memory", "rocks")


LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")
LOG_FORMATS: Final = ("text", "json")


def _data_home() -> str:
    base = os.environ.get("XDG_DATA_HOME", "")
    # The XDG base directory specification: a relative path there is invalid and to be ignored.
    if Path(base).is_absolute():
        return str(Path(base) / "riverloop")
    try:
        return str(Path.home() / ".local" / "share" / "riverloop")
    except RuntimeError:
        raise UsageError(
            "this user has no home folder: say with --data or RIVERLOOP_DATA where a worker keeps its files"
        ) from None


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
    group: str = setting(
        "riverloop", "Consumer group; workers of one group share the partitions.", pattern=NAME
    )
    slot: str = setting(
        "",
        "Stable name of this worker among its group, part of its transactional ids: a restarted worker fences "
        "its dead self by it. Empty: the first free number on this machine.",
        pattern=NAME,
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
    http_port: int = setting(0, "Port that HTTP listens on; 0: any free one.", within=(0, 65_535))
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
        within=(16, 65_536),
    )
    live_pages_per_client: int = setting(
        20,
        "Live pages that one address may have open at once, of 100 in all; a further one takes the place of its "
        "oldest. Behind a proxy all callers have one address.",
        unit="pages",
        within=(1, 100),
    )
    snapshots: str = setting(
        "", "Where snapshots lie: an fsspec URI that all workers see. Empty: DATA/snapshots."
    )
    pass_over: str = setting(
        "",
        "Records of training logs that cannot be read and are no entries, as TASK.log@OFFSET with commas between "
        "them: all workers of a task need the same.",
    )
    snapshot_every: int = setting(
        10_000, "A snapshot is written after so many entries.", unit="entries", within=(1, 10**9)
    )
    snapshots_kept: int = setting(
        10, "So many snapshots of each model are kept.", unit="snapshots", within=(1, 10_000)
    )
    snapshot_key: str = setting(
        "", "Key that signs manifests; unsigned ones are then refused.", secret=True, characters=MIN_KEY
    )
    token_key: str = setting(
        "", "Key of the tokens that stand for personal data.", secret=True, characters=MIN_KEY
    )
    data: str = setting("", "Folder for what a worker keeps on this machine. Empty: the user's data folder.")
    join_store: str = setting(
        "memory",
        "Where the join's state lies, beside its changelog: memory, or rocks for a folder under DATA/join when it "
        "may outgrow memory.",
        one_of=JOIN_STORES,
    )
    join_cache_mb: int = setting(
        64,
        "Memory of each task's join state in rocks, all partitions together.",
        unit="MiB",
        within=(1, 1_048_576),
    )
    max_batch: int = setting(
        1000, "At most so many records are processed in one transaction.", unit="records", within=(1, 100_000)
    )
    idle_ms: int = setting(
        2_000,
        "Without predictions for so long, stream time advances by the time elapsed.",
        unit="ms",
        within=(1, 10**10),
    )
    metrics_every_ms: int = setting(
        1_000, "Metrics are published so often while entries come.", unit="ms", within=(1, 86_400_000)
    )
    remembered: int = setting(
        100_000,
        "So many predictions made over HTTP are remembered for look-up.",
        unit="predictions",
        within=(1, 10**8),
    )
    max_body: int = setting(
        1_048_576, "Largest HTTP request body.", unit="bytes", within=(1_024, 104_857_600)
    )
    max_list: int = setting(1_000, "Most requests in one HTTP call.", unit="requests", within=(1, 100_000))
    lockstep: bool = setting(
        False, "Time advances by punctuations only: for replay against River's evaluator."
    )
    json_records: bool = setting(False, "Predictions are written as JSON, not as Avro.")
    runbook_base: str = setting(
        "",
        "URL under which the pages of docs/operations/runbooks/ are published; alerts link to them. Empty: their "
        "paths in the repository.",
    )
    log_level: str = setting("INFO", "The worker logs lines of this level and above.", one_of=LOG_LEVELS)
    log_format: str = setting(
        "text", "Form of the log's lines: text for people, json for machines.", one_of=LOG_FORMATS
    )

    def __post_init__(self) -> None:
        """Check each setting against its bounds."""
        for each in fields(self):
            check(_DECLARED[each.name], getattr(self, each.name))

    @classmethod
    def load(cls, given: Mapping[str, Any] | None = None, env: Mapping[str, str] | None = None) -> Self:
        """Read settings: as given, else from the environment, else the default.

        Raises
        ------
        UsageError
            Naming the setting whose value is not of its type, or out of its bounds.
        """
        env = os.environ if env is None else env
        given = {key: value for key, value in (given or {}).items() if value is not None}
        told: dict[str, Any] = {}
        for each in fields(cls):
            name = environment_name(each.name)
            if each.name in given:
                told[each.name] = given[each.name]
            elif text := from_environment(each.name, env):
                told[each.name] = convert(name, text, type(each.default))
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


def from_environment(name: str, env: Mapping[str, str] | None = None) -> str:
    """Give what the environment says of a setting: its text, or that of the file which it names for a secret.

    Raises
    ------
    UsageError
        When both are given, the file cannot be read, or the key is short; the secret is not repeated.

    Examples
    --------
    >>> from_environment("group", {"RIVERLOOP_GROUP": "blue"})
    'blue'
    """
    env = os.environ if env is None else env
    variable = environment_name(name)
    text, file = env.get(variable, ""), env.get(variable + FILE, "") if name in SECRETS else ""
    if not file:
        return _checked(name, text)
    if text:
        raise UsageError(f"{variable} and {variable}{FILE} are both set: give one of them")
    try:
        with Path(file).open("rb") as opened:
            data = opened.read(MAX_SECRET + 1)
        if len(data) > MAX_SECRET:
            raise UsageError(f"{variable}{FILE}: {file} has more than {MAX_SECRET:,} bytes: it is no secret")
        return _checked(name, data.decode().strip())
    except OSError as error:
        raise UsageError(f"{variable}{FILE}: {file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{variable}{FILE}: {file} is not valid UTF-8") from None


def _checked(name: str, text: str) -> str:
    """Check a text from the environment, which some commands read without the other settings."""
    if name in SECRETS:
        check(_DECLARED[name], text)
    return text


_DECLARED: Final = {each.name: each for each in fields(Settings)}
