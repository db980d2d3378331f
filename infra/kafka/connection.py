"""How to reach a Kafka cluster: its address and any librdkafka property, secrets never printed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from schemas.errors import UsageError

# Wide on purpose: a hidden path costs a look into one's own settings, a printed key costs the key.
_SECRET = re.compile(r"password|secret|key|token|jaas|credential|oauthbearer|pem|passphrase", re.IGNORECASE)

# Properties of librdkafka whose names look like it, but whose values are files, addresses or names.
_NO_SECRETS = frozenset(
    {
        "enable.sasl.oauthbearer.unsecure.jwt",
        "https.ca.pem",
        "sasl.kerberos.keytab",
        "sasl.oauthbearer.assertion.algorithm",
        "sasl.oauthbearer.assertion.claim.aud",
        "sasl.oauthbearer.assertion.claim.exp.seconds",
        "sasl.oauthbearer.assertion.claim.iss",
        "sasl.oauthbearer.assertion.claim.jti.include",
        "sasl.oauthbearer.assertion.claim.nbf.seconds",
        "sasl.oauthbearer.assertion.claim.sub",
        "sasl.oauthbearer.assertion.file",
        "sasl.oauthbearer.assertion.jwt.template.file",
        "sasl.oauthbearer.assertion.private.key.file",
        "sasl.oauthbearer.client.credentials.client.id",
        "sasl.oauthbearer.client.id",
        "sasl.oauthbearer.grant.type",
        "sasl.oauthbearer.metadata.authentication.type",
        "sasl.oauthbearer.method",
        "sasl.oauthbearer.scope",
        "sasl.oauthbearer.token.endpoint.url",
        "ssl.ca.pem",
        "ssl.certificate.pem",
        "ssl.key.location",
        "ssl.keystore.location",
    }
)

# What riverloop sets itself because its guarantees hang on it.
_OURS: Mapping[str, str] = MappingProxyType(
    {
        "bootstrap.servers": "set it with --bootstrap",
        "metadata.broker.list": "set it with --bootstrap",
        "group.id": "riverloop sets it from task and role",
        "transactional.id": "riverloop sets it from task and slot",
        "isolation.level": "only committed records are read",
        "enable.auto.commit": "offsets are committed in transactions",
        "enable.auto.offset.store": "offsets are committed in transactions",
        "enable.idempotence": "writes are always idempotent",
        "partitioner": "the join requires the same partitioner of every producer",
        "partition.assignment.strategy": "partitions of equal number belong to the same worker",
        "auto.offset.reset": "riverloop decides where reading begins",
        "acks": "writes wait for all in-sync replicas",
        "transaction.timeout.ms": "riverloop sets it",
        "message.timeout.ms": "riverloop sets it",
        "linger.ms": "riverloop sets it",
    }
)


# librdkafka waits up to 10 s between two attempts: so much later a cluster would be back for its clients.
DEFAULTS: Mapping[str, Any] = MappingProxyType({"reconnect.backoff.max.ms": 1000})


@dataclass(frozen=True, slots=True, repr=False)
class Connection:
    """A cluster's address and the librdkafka properties to reach it with.

    Parameters
    ----------
    bootstrap
        ``HOST:PORT``, or several separated by commas.
    properties
        librdkafka properties of the connection, such as ``security.protocol`` or ``sasl.password``, passed
        through as they are.

    Notes
    -----
    The values of secret properties are in neither its repr nor its str; they are in `config`'s answer, and in
    a pickle of it.

    Examples
    --------
    >>> Connection("kafka:9093", parse_properties(["security.protocol=SASL_SSL", "sasl.password=x"]))
    Connection('kafka:9093', security.protocol=SASL_SSL, sasl.password=***)
    """

    bootstrap: str
    properties: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        # A copy, so that the caller's mapping may change; a plain dict, so that it can be pickled.
        object.__setattr__(self, "properties", dict(self.properties))

    def __repr__(self) -> str:
        shown = [repr(self.bootstrap)]
        shown += [f"{name}={'***' if is_secret(name) else value}" for name, value in self.properties.items()]
        return f"Connection({', '.join(shown)})"

    def config(self, **overrides: Any) -> dict[str, Any]:
        """Return a configuration for a librdkafka client.

        Parameters
        ----------
        overrides
            What the client needs beside the connection; they win over the connection's properties. Names with
            dots are given as ``**{"group.id": "g"}``.
        """
        return {**DEFAULTS, **self.properties, "bootstrap.servers": self.bootstrap, **overrides}

    def hide(self, text: str) -> str:
        """Return the text with this connection's secret values replaced by ``***``."""
        for name, value in self.properties.items():
            if value and is_secret(name):
                text = text.replace(value, "***")
        return text


def is_secret(name: str) -> bool:
    """Whether a property's value may be secret, judged by its name.

    Examples
    --------
    >>> is_secret("ssl.key.password"), is_secret("sasl.username")
    (True, False)
    """
    return _SECRET.search(name) is not None


def check_command_line(texts: Iterable[str]) -> None:
    """Reject secrets among the properties that a command line gives: every user of the machine can read it.

    Raises
    ------
    UsageError
        Naming the property; the value is not repeated.

    Examples
    --------
    >>> check_command_line(["ssl.key.location=/run/secrets/key.pem", "sasl.username=ann"])
    """
    for text in texts:
        name = text.partition("=")[0].strip()
        if is_secret(name) and name not in _NO_SECRETS:
            shown = name if "=" in text else "a property"
            raise UsageError(
                f"{shown} is a secret, and other users can read command lines: set it in "
                "RIVERLOOP_KAFKA_PROPERTIES, or in a file that RIVERLOOP_KAFKA_PROPERTIES_FILE names"
            )


def parse_property(text: str) -> tuple[str, str]:
    """Read ``NAME=VALUE``; the value may contain further equals signs.

    Raises
    ------
    UsageError
        It has no name or no equals sign, or riverloop sets this property itself. The value is not repeated.

    Examples
    --------
    >>> parse_property("security.protocol=SASL_SSL")
    ('security.protocol', 'SASL_SSL')
    """
    name, equals, value = text.partition("=")
    name = name.strip()
    if not equals or not name or any(character.isspace() for character in name):
        # Not even the part before the sign: without one, that is all of it.
        raise UsageError("a Kafka property must be NAME=VALUE, for example security.protocol=SASL_SSL")
    if name in _OURS:
        raise UsageError(f"the Kafka property {name} cannot be set: {_OURS[name]}")
    return name, value.strip()


def parse_properties(texts: Iterable[str]) -> dict[str, str]:
    """Read several ``NAME=VALUE``; of a name given twice the last one counts."""
    return dict(parse_property(text) for text in texts)
