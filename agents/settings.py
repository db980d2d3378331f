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
CORES: Final = ("auto", "native", "python")
"""Those of `streams.native`, which takes a second to import."""


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
            "this user has no home folder: set --data or RIVERLOOP_DATA to a folder for the worker's files"
        ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a worker; each is also read from the environment as RIVERLOOP_<NAME>.

    A secret is also read from the file that RIVERLOOP_<NAME>_FILE names.
    """

    bootstrap: str = setting("", "Kafka bootstrap servers: HOST:PORT, separated by commas.")
    kafka_properties: str = setting(
        "", "Further librdkafka properties (TLS, SASL, …), one KEY=VALUE per line.", secret=True
    )
    group: str = setting(
        "riverloop", "Consumer group. Workers of one group share the partitions.", pattern=NAME
    )
    slot: str = setting(
        "",
        "Stable name of this worker in its transactional ids. Empty: the first free number on this machine.",
        pattern=NAME,
    )
    http_host: str = setting("127.0.0.1", "Address on which HTTP listens.")
    http_token: str = setting(
        "",
        "Bearer tokens for outcomes and commands over HTTP, separated by white space; NAME:TOKEN names "
        "the author of commands. Empty: none required.",
        secret=True,
    )
    serve_token: str = setting(
        "",
        "Bearer tokens for predictions over HTTP, beside http_token. Empty: none required.",
        secret=True,
    )
    allow_unauthenticated_http: bool = setting(
        False, "Listen on a non-loopback address without http_token. Any caller can then report outcomes."
    )
    http_port: int = setting(0, "HTTP port; 0: any free port.", within=(0, 65_535))
    http_hosts: str = setting(
        "",
        "Further accepted Host names, such as a proxy's, separated by white space. Empty: any name, but "
        "only loopback names on a loopback address.",
        each=r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+",
    )
    http_origins: str = setting(
        "",
        "Origins that may call and read answers (CORS), separated by white space, such as https://app.example.com.",
        each=r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?",
    )
    http_connections: int = setting(
        1024,
        "Maximum of HTTP connections; also at most half of the file limit. A new one replaces an idle one.",
        unit="connections",
        within=(16, 65_536),
    )
    live_pages_per_client: int = setting(
        20,
        "Maximum of live pages per client address. A new one replaces the oldest.",
        unit="pages",
        within=(1, 100),
    )
    snapshots: str = setting(
        "", "Snapshot store: an fsspec URI that all workers can read. Empty: DATA/snapshots."
    )
    skip: str = setting(
        "",
        "Unreadable log records to skip: TASK.log@OFFSET, separated by commas; the same for all workers "
        "of a task.",
    )
    snapshot_every: int = setting(10_000, "Entries between two snapshots.", unit="entries", within=(1, 10**9))
    snapshots_kept: int = setting(
        10, "Number of snapshots kept for each model.", unit="snapshots", within=(1, 10_000)
    )
    snapshot_key: str = setting(
        "",
        "Key that signs manifests. When set, unsigned manifests are rejected.",
        secret=True,
        characters=MIN_KEY,
    )
    audit_checkpoints: str = setting(
        "",
        "Folder for signed checkpoints of audit chains: an fsspec URI, best with write-once storage. "
        "Needs snapshot_key.",
    )
    token_key: str = setting(
        "", "Key of the tokens that replace personal data.", secret=True, characters=MIN_KEY
    )
    data: str = setting("", "Folder for the worker's local files. Empty: the user's data folder.")
    join_store: str = setting(
        "memory",
        "Store of the join state, beside its changelog: memory, or RocksDB under DATA/join.",
        one_of=JOIN_STORES,
    )
    join_cache_mb: int = setting(
        64, "RocksDB memory for the join state of each task.", unit="MiB", within=(1, 1_048_576)
    )
    feature_store: str = setting(
        "",
        "Store of looked-up features and shared predictions: redis://HOST:PORT/DB, rediss:// with TLS, "
        "redis+cluster:// or rediss+cluster://. Empty: memory.",
    )
    feature_store_password: str = setting("", "Password of the feature store.", secret=True)
    feature_store_project: str = setting(
        "riverloop", "Feast's project, part of the store's keys.", pattern=NAME
    )
    max_batch: int = setting(
        3000, "Maximum of records in one transaction.", unit="records", within=(1, 100_000)
    )
    idle_ms: int = setting(
        2_000,
        "Time without predictions after which stream time advances with the clock.",
        unit="ms",
        within=(1, 10**10),
    )
    metrics_every_ms: int = setting(
        1_000,
        "Interval at which metrics are published while entries arrive.",
        unit="ms",
        within=(1, 86_400_000),
    )
    prediction_cache_size: int = setting(
        100_000,
        "Number of HTTP predictions kept in memory to answer repeated requests.",
        unit="predictions",
        within=(1, 10**8),
    )
    prediction_ttl_s: int = setting(
        3_600,
        "Time for which workers share predictions in the feature_store; 0: not.",
        unit="s",
        within=(0, 2_592_000),
    )
    max_body: int = setting(
        1_048_576, "Maximum size of an HTTP request body.", unit="bytes", within=(1_024, 104_857_600)
    )
    max_list: int = setting(
        1_000, "Maximum of records in one HTTP call.", unit="requests", within=(1, 100_000)
    )
    lockstep: bool = setting(False, "Advance stream time by punctuations only, for replays in lockstep.")
    json_records: bool = setting(False, "Write predictions as JSON instead of Avro.")
    cloudevents: bool = setting(False, "Write predictions with the headers of a CloudEvent (binary mode).")
    schema_registry: str = setting(
        "",
        "URLs of a Confluent Schema Registry, separated by commas; the same for all workers and commands "
        "of a task. Empty: records with its framing are rejected.",
    )
    registry_properties: str = setting(
        "",
        "Further properties of the registry's client, such as basic.auth.user.info, one KEY=VALUE per line.",
        secret=True,
    )
    registry_predictions: bool = setting(
        False,
        "Write predictions with the registry's framing and the schema of T.predictions-value.",
    )
    runbook_base: str = setting(
        "", "URL of the published docs/operations/runbooks/, for links in alerts. Empty: repository paths."
    )
    core: str = setting(
        "auto",
        "Code that learns and scores, with equal results; auto: native where it is built.",
        one_of=CORES,
    )
    log_level: str = setting("INFO", "Minimum level of the worker's log lines.", one_of=LOG_LEVELS)
    log_format: str = setting("text", "Format of log lines.", one_of=LOG_FORMATS)

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
        values: dict[str, Any] = {}
        for each in fields(cls):
            name = environment_name(each.name)
            if each.name in given:
                values[each.name] = given[each.name]
            elif text := from_environment(each.name, env):
                values[each.name] = convert(name, text, type(each.default))
        return cls(**values)

    @property
    def data_folder(self) -> Path:
        """Return the folder of the worker's local files."""
        return Path(self.data or _data_home())

    @property
    def snapshot_uri(self) -> str:
        """Return the URI of the snapshot store."""
        return self.snapshots or str(self.data_folder / "snapshots")

    def join_folder(self, slot: str, task: str) -> Path | None:
        """Return the folder of the join's state; None when it is in memory."""
        if self.join_store == "memory":
            return None
        return self.data_folder / "join" / self.group / slot / task

    @property
    def properties(self) -> list[str]:
        """Return the further librdkafka properties as KEY=VALUE."""
        return [part.strip() for part in self.kafka_properties.splitlines() if part.strip()]


SECRETS: Final = frozenset(each.name for each in fields(Settings) if each.metadata["secret"])
FILE: Final = "_FILE"
"""Suffix of the variable that names the file with the secret."""
MAX_SECRET: Final = 65_536


def from_environment(name: str, env: Mapping[str, str] | None = None) -> str:
    """Read a setting from the environment; a secret also from the file that its `_FILE` variable names.

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
        raise UsageError(f"{variable} and {variable}{FILE} are both set: unset one of them")
    try:
        with Path(file).open("rb") as opened:
            data = opened.read(MAX_SECRET + 1)
        if len(data) > MAX_SECRET:
            raise UsageError(
                f"{variable}{FILE}: {file} has more than {MAX_SECRET:,} bytes; a secret is shorter"
            )
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
