from __future__ import annotations

import pickle
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from agents.cli.main import riverloop, subcommands
from infra.kafka.connection import Connection, check_command_line, is_secret, parse_properties, parse_property
from infra.kafka.reachable import ADDRESS, check_reachable
from schemas.errors import UsageError

SECRETS = {
    "sasl.password": "s3cret",
    "ssl.key.password": "s3cret",
    "ssl.key.pem": "s3cret",
    "ssl.keystore.password": "s3cret",
    "sasl.oauthbearer.client.secret": "s3cret",
    "sasl.oauthbearer.config": "s3cret",
    "sasl.oauthbearer.client.credentials.client.secret": "s3cret",
    "sasl.oauthbearer.extensions": "s3cret",
    "sasl.oauthbearer.assertion.private.key.passphrase": "s3cret",
    "sasl.oauthbearer.assertion.private.key.pem": "s3cret",
    "sasl.jaas.config": "s3cret",
    "some.Token": "s3cret",
}


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_never_printed(name: str) -> None:
    connection = Connection("kafka:9093", {"sasl.username": "ann", name: SECRETS[name]})
    for printed in (repr(connection), str(connection), f"{connection}", repr([connection])):
        assert "s3cret" not in printed
        assert f"{name}=***" in printed
        assert "sasl.username=ann" in printed
    assert connection.hide("bad s3cret") == "bad ***"


def test_any_property_reaches_librdkafka_and_what_the_client_needs_wins() -> None:
    connection = Connection("kafka:9093", {"security.protocol": "SSL", "linger.ms": "7"})
    assert connection.config(**{"linger.ms": 5}) == {
        "bootstrap.servers": "kafka:9093",
        "security.protocol": "SSL",
        "linger.ms": 5,
        "reconnect.backoff.max.ms": 1000,
    }
    patient = Connection("kafka:9093", {"reconnect.backoff.max.ms": "9000"})
    assert patient.config()["reconnect.backoff.max.ms"] == "9000"


def test_a_connection_travels_to_a_worker_process_and_does_not_change_behind_its_back() -> None:
    given = {"sasl.password": "s3cret"}
    connection = Connection("kafka:9093", given)
    given["sasl.password"] = "other"
    assert pickle.loads(pickle.dumps(connection)) == connection
    assert connection.config()["sasl.password"] == "s3cret"
    assert hash(connection) == hash(Connection("kafka:9093", {"sasl.password": "s3cret"}))


def test_a_value_may_hold_equals_signs() -> None:
    assert parse_property(" sasl.password = a=b= ") == ("sasl.password", "a=b=")
    assert parse_properties(["a=1", "b=", "a=2"]) == {"a": "2", "b": ""}


@pytest.mark.parametrize("text", ["s3cret", "=s3cret", "", "sasl password=s3cret"])
def test_a_property_that_cannot_be_read_is_not_repeated(text: str) -> None:
    with pytest.raises(UsageError, match="NAME=VALUE") as caught:
        parse_property(text)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("name", ["bootstrap.servers", "group.id", "isolation.level", "enable.idempotence"])
def test_what_guarantees_hang_on_cannot_be_set(name: str) -> None:
    with pytest.raises(UsageError, match=name):
        parse_property(f"{name}=x")


@pytest.mark.parametrize(
    "address",
    ["http://localhost:9092", "localhost:port", "a:1,,b:2", "a b", "localhost:9092/", "::1", ":9092"],
)
def test_an_address_that_is_none_is_a_sentence_at_once(address: str) -> None:
    with pytest.raises(
        UsageError, match="the Kafka cluster's address must be HOST:PORT, or several with commas"
    ):
        check_reachable(Connection(address))


@pytest.mark.parametrize(
    "address", ["localhost", "kafka-1:9092, kafka-2:9092", "[::1]:9092", "SASL_SSL://k.example:1"]
)
def test_an_address_that_librdkafka_takes_is_asked(address: str) -> None:
    assert all(ADDRESS.fullmatch(each.strip()) for each in address.split(","))


def test_names_and_places_are_not_secret() -> None:
    assert not any(map(is_secret, ("sasl.username", "security.protocol", "ssl.ca.location", "client.id")))


def commands(group: click.Group, *names: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in subcommands(group).items():
        if isinstance(command, click.Group):
            yield from commands(command, *names, name)
        else:
            yield (*names, name), command


WITH_PROPERTIES = [
    names
    for names, command in commands(riverloop)
    if any("--property" in option.opts for option in command.params)
]


def test_the_commands_that_take_properties_are_known() -> None:
    assert {names[0] for names in WITH_PROPERTIES} >= {"demo", "verify", "produce", "topics"}


@pytest.mark.parametrize("command", WITH_PROPERTIES, ids=" ".join)
@pytest.mark.parametrize("name", SECRETS)
def test_no_command_line_takes_a_secret(name: str, command: tuple[str, ...]) -> None:
    arguments = [*command, "--property", "security.protocol=SSL", "--property", f" {name} = s3cret"]
    made = CliRunner().invoke(riverloop, arguments)
    assert isinstance(made.exception, UsageError), made.output
    assert name in str(made.exception)
    assert "RIVERLOOP_KAFKA_PROPERTIES_FILE" in str(made.exception)
    assert "s3cret" not in str(made.exception) + made.output


def test_names_and_places_may_be_on_a_command_line() -> None:
    check_command_line(["ssl.key.location=/run/key.pem", "sasl.username=ann", "sasl.oauthbearer.method=oidc"])
    with pytest.raises(UsageError) as caught:
        check_command_line(["password-s3cret"])
    assert "s3cret" not in str(caught.value)
