"""What goes wrong at a producing service is found, told once, and closed when it is mended."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from schemas.alert import Alert
from schemas.codec import Codec
from schemas.dictionary import Category, Dictionary, Integer, Number
from schemas.errors import BadRecord, TaskError
from schemas.records import Request
from schemas.tokens import token
from streams import snapshot
from streams.quality.edge import EdgeCounter
from streams.quality.grid import bucket
from streams.quality.monitor import QualityMonitor
from streams.quality.replay import replay
from streams.quality.volume import HOUR_MS, Volume

DICTIONARY = Dictionary(
    Number(name="price", unit="EUR", low=0, high=1000, optional=True),
    Integer(name="guests", low=0, high=20),
    Category(name="channel", levels=("web", "app"), missing="NA"),
    Category(name="agent", optional=True),
)
Change = Callable[[dict[str, Any], random.Random], None]


def stream(change: Change, start: int = 4000, end: int = 7000, n: int = 11_000) -> list[Request]:
    rng = random.Random(3)
    out = []
    for number in range(n):
        x: dict[str, Any] = {
            "price": rng.uniform(10, 90),
            "guests": rng.randint(1, 4),
            "channel": rng.choice(["web", "app"]),
            "agent": rng.choice("abcdefghij"),
        }
        if start <= number < end:
            change(x, rng)
        out.append(Request(f"r-{number}", number * 1000, DICTIONARY.canonical(x)))
    return out


def missing(x: dict[str, Any], rng: random.Random) -> None:
    if rng.random() < 0.2:
        del x["price"]


def cents(x: dict[str, Any], rng: random.Random) -> None:
    x["price"] *= 100


def fax(x: dict[str, Any], rng: random.Random) -> None:
    if rng.random() < 0.1:
        x["channel"] = "fax"


def no_channel(x: dict[str, Any], rng: random.Random) -> None:
    del x["channel"]


def families(x: dict[str, Any], rng: random.Random) -> None:
    x["guests"] += 3


CASES = [
    (missing, "feature.price", "missing", "info"),
    (cents, "feature.price", "range", "critical"),
    (fax, "feature.channel", "new_level", "warning"),
    (no_channel, "feature.channel", "missing", "critical"),
    (families, "features", "values", "info"),
]


@pytest.mark.parametrize(("change", "family", "signal", "severity"), CASES)
def test_a_fault_opens_one_episode_and_its_end_closes_it(
    change: Change, family: str, signal: str, severity: str
) -> None:
    alerts = list(replay(QualityMonitor("t", DICTIONARY), stream(change)))
    mine = [each for each in alerts if each.family == family]
    assert [each.state for each in mine if each.state != "updated"] == ["opened", "closed"]
    assert 4_000_000 < mine[0].ts < 4_000_000 + 2 * 540_000
    assert 7_000_000 < mine[-1].ts < 7_000_000 + 5 * 540_000
    assert severity in {each.severity for each in mine}
    assert signal in {each.signal for each in mine}
    assert len({each.episode for each in mine}) == 1
    assert len({each.family for each in alerts}) <= 2


def test_what_lasts_becomes_the_reference() -> None:
    monitor = QualityMonitor("t", DICTIONARY)
    alerts = list(replay(monitor, stream(families, end=11_000)))
    assert [each.state for each in alerts if each.state != "updated"] == ["opened", "closed"]
    assert "new reference" in alerts[-1].text
    assert all(each.psi and each.psi.excess < 0.1 for each in monitor.verdicts.values())


def test_too_few_values_are_an_answer_of_their_own() -> None:
    monitor = QualityMonitor("t", DICTIONARY)

    def rare(x: dict[str, Any], rng: random.Random) -> None:
        if rng.random() < 0.9:
            x.pop("agent")

    list(replay(monitor, stream(rare, start=0, end=11_000)))
    assert not monitor.verdicts["agent"].judged
    assert monitor.verdicts["agent"].psi is None
    assert monitor.verdicts["price"].judged


def test_personal_data_is_in_no_count_and_no_alert() -> None:
    dictionary = Dictionary(
        Integer(name="guests"),
        Category(name="phone", personal_data="left_out"),
        Category(name="guest", personal_data="tokenised"),
    )
    codec = Codec("t", "binary", dictionary, b"key", serving=True)
    monitor, counter = QualityMonitor("t", dictionary), EdgeCounter(dictionary, "w")
    offset, reported = 0, ""
    for number in range(6000):
        name = f"Ada {number % 40 if number < 3000 else number}"
        sent = {"guests": 1, "phone": "0151", "guest": name}
        data = json.dumps({"request_id": f"r-{number}", "ts": number * 1000, "features": sent})
        counter.answered(0, codec.decode_request(data.encode()))
        if number % 500 == 499:
            for tally in counter.tallies():
                monitor.apply(offset, tally)
                reported += codec.encode(tally, json=True).decode()
                offset += 1
            counter.commit()
    alerts = list(monitor.alerts())
    assert [(each.feature, each.signal) for each in alerts if each.state == "opened"] == [("guest", "unseen")]
    reported += "".join(codec.encode(each, json=True).decode() for each in alerts)
    secret = token(b"key", "guest", "Ada 1")
    for word in ("Ada", "0151", "phone", secret):
        assert word not in reported
    assert bucket(secret) in reported


def rejections(alerts: list[Alert]) -> list[str]:
    return [each.state for each in alerts if each.family == "requests.rejected"]


def test_rejected_repeated_and_disordered_requests_are_counted_and_reported() -> None:
    monitor, counter = QualityMonitor("t", DICTIONARY), EdgeCounter(DICTIONARY, "w")
    bad = BadRecord("wrong_type", "feature price must be a number", "features.price")
    counter.rejected(0, bad, 1_700_000_000_000)  # nothing is known of event time yet
    alerts: list[Alert] = []
    for offset, each in enumerate(stream(lambda x, rng: None, n=6000)):
        counter.answered(0, each, "json" if offset < 5000 else "00ff")
        if offset > 4000 and offset % 5 == 0:
            counter.rejected(0, bad, each.ts)
            counter.answered(0, each)
            counter.answered(0, Request(f"old-{offset}", each.ts - 1, each.features))
        for tally in counter.tallies():
            monitor.apply(monitor.next_offset, tally)
        counter.commit()
        alerts += monitor.alerts()
    assert monitor.sum.rejected == {"wrong_type features.price": 400}
    assert (monitor.sum.repeated, monitor.sum.disordered, monitor.late) == (399, 399, 0)
    opened = {each.family for each in alerts if each.state == "opened"}
    assert opened == {"requests.rejected", "requests.repeated", "requests.disordered", "requests.schema"}
    assert rejections(alerts) == ["opened", "updated"]
    assert "wrong_type features.price" in next(each.text for each in alerts if each.signal == "rejected")


def test_a_feature_that_stands_still_is_stale() -> None:
    dictionary = Dictionary(Number(name="rate", stale_after_s=600), Integer(name="n"))
    rng = random.Random(1)
    requests = [
        Request(f"r-{at}", at * 1000, {"rate": 2.5 if at > 4000 else rng.random(), "n": 1})
        for at in range(6000)
    ]
    alerts = [each for each in replay(QualityMonitor("t", dictionary), requests) if each.signal == "stale"]
    assert [each.state for each in alerts] == ["opened"]
    assert 4600 < alerts[0].ts / 1000 < 4800


def test_an_hour_is_odd_against_the_same_hour_of_other_weeks_only() -> None:
    rng, volume = random.Random(2), Volume(1e-4)
    odd = []
    for hour in range(168 * 12):
        usual = 400 if 8 <= hour % 24 < 20 else 20
        requests = rng.randint(usual * 9 // 10, usual * 11 // 10)
        if hour == 168 * 11 + 10:
            requests = 0
        odd += [each for each in volume.add(hour * HOUR_MS, requests) if each.odd]
    assert [(each.ts // HOUR_MS, each.requests) for each in odd] == [(168 * 11 + 10, 0)]
    again = Volume(1e-4)
    again.restore(volume.state())
    assert again.state() == volume.state()


def test_the_state_goes_through_a_snapshots_allow_list() -> None:
    monitor = QualityMonitor("t", DICTIONARY)
    list(replay(monitor, stream(families, n=6000)))
    restored = QualityMonitor("t", DICTIONARY)
    restored.restore(snapshot.load(snapshot.dump(monitor.snapshot())))
    late = [Request(f"s-{at}", 6_000_000 + at * 1000, {"guests": 1, "channel": "web"}) for at in range(3000)]
    assert list(replay(restored, late)) == list(replay(monitor, late))


@pytest.mark.parametrize("wrong", [{"max_missing": 1.5}, {"stale_after_s": 0}])
def test_a_bound_that_cannot_be_is_rejected(wrong: dict[str, Any]) -> None:
    with pytest.raises(TaskError, match="price"):
        Dictionary(Number(name="price", **wrong))


def test_a_bound_of_the_dictionary_stands_above_the_reference() -> None:
    dictionary = Dictionary(
        Number(name="price", optional=True, max_missing=0.5), *(DICTIONARY.by_name[n] for n in ("guests",))
    )
    found = list(replay(QualityMonitor("t", dictionary), stream(missing)))
    assert [each for each in found if each.signal == "missing"] == []
