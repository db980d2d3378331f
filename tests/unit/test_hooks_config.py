"""The file of destinations: what is wrong is said, and what is secret is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.notify.config import People, Webhook, read_config
from schemas.errors import UsageError
from streams.notify.events import Event
from tests.receiver import KEY, SECRET

HEAD = '[[webhooks]]\nname = "ci"\n'
GOOD = HEAD + 'url = "https://ci.example.com/in"\nsecret_env = "CI"\n'
PEOPLE = '[[people]]\nname = "team"\naddresses_env = "TEAM"\n'
OWNERS = {"price": "shop", "age": ""}
ENV = {
    "TEAM": "json://hidden.example.com json://other.example.com",
    "CI": SECRET,
    "SHORT": "whsec_c2hvcnQ=",
    "BARE": SECRET.removeprefix("whsec_"),
    "EMPTY": "",
}


def written(folder: Path, text: str) -> Path:
    file = folder / "hooks.toml"
    file.write_text(text)
    return file


def test_secrets_and_addresses_come_from_the_environment_or_files(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n{SECRET}\n")
    (tmp_path / "url").write_text("https://chat.example.com/hidden\n")
    text = (
        GOOD
        + HEAD.replace("ci", "chat")
        + 'url_file = "url"\nsecret_file = "secret"\nevents = ["alert.opened"]\n'
    )
    ci, chat = read_config(written(tmp_path, text), OWNERS, ENV)
    assert ci == Webhook(name="ci", url="https://ci.example.com/in", secrets=(KEY,))
    assert chat == Webhook(
        name="chat", url="https://chat.example.com/hidden", secrets=(KEY, KEY), events=("alert.opened",)
    )
    assert "hidden" not in repr(chat)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "needs destinations"),
        ("x = ", "not valid TOML"),
        ("[[mails]]\n", "[[webhooks]]"),
        (GOOD + GOOD, "a name of its own"),
        (GOOD.replace('"ci"', '"a.b"'), "lower-case"),
        (GOOD + 'events = ["outcome"]\n', "events are"),
        (GOOD + "colour = 1\n", "unknown keys: colour"),
        (GOOD.replace("https", "ftp"), "url is"),
        (GOOD.replace("https", "http"), "private = true"),
        (GOOD.replace("ci.example", "me:hidden@ci.example"), "without a login"),
        (GOOD.replace("secret_env", "secret"), "secret_env or secret_file"),
        (GOOD.replace('"CI"', '"EMPTY"'), "not set"),
        (GOOD.replace('"CI"', '"SHORT"'), "24 to 64"),
        (GOOD.replace('"CI"', '"BARE"'), "whsec_"),
        (GOOD.replace("secret_env", "secret_file"), "cannot be read"),
        (PEOPLE.replace("addresses_env", "addresses"), "addresses_env or addresses_file"),
        (PEOPLE + 'owner = "nobody"\n', "no owner 'nobody'"),
        (PEOPLE + "owner = 1\n", "owner is a text"),
    ],
)
def test_what_is_wrong_is_named_and_no_value_is_repeated(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_config(written(tmp_path, text), OWNERS, ENV)
    assert said in str(caught.value)
    assert not any(each and each.removeprefix("whsec_") in str(caught.value) for each in ENV.values())
    assert "hidden" not in str(caught.value)


def test_an_alert_goes_to_the_owner_of_its_feature_and_the_rest_to_the_others(tmp_path: Path) -> None:
    text = PEOPLE + PEOPLE.replace("team", "shop") + 'owner = "shop"\n'
    team, shop = read_config(written(tmp_path, text), OWNERS, ENV)
    assert isinstance(team, People)
    assert team.addresses == ("json://hidden.example.com", "json://other.example.com")
    assert "hidden" not in f"{team!r}{team.shown}"
    about = {name: Event("evt_1", "alert.opened", 0, {}, name) for name in ("price", "age", "")}
    assert {name for name, each in about.items() if shop.wants(each)} == {"price"}
    assert {name for name, each in about.items() if team.wants(each)} == {"age", ""}
    assert team.wants(Event("evt_2", "decision.promote", 0, {}))
    alone, *_ = read_config(written(tmp_path, PEOPLE), OWNERS, ENV)
    assert all(alone.wants(each) for each in about.values())
