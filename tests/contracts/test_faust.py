"""What riverloop's transport leans on inside Faust: a test per internal, to say what a new Faust has changed."""

from __future__ import annotations

import asyncio
import gc
import inspect
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import faust
import faust._cython
import pytest
from faust.app.base import App, BootStrategy
from faust.tables.recovery import Recovery
from faust.transport import base, conductor, consumer, producer
from faust.types import TP

from agents import transport
from infra.kafka.channel import Channel


@pytest.fixture
def app(tmp_path: Path) -> faust.App:
    transport.register()
    return faust.App(
        "contract",
        broker="riverloop://127.0.0.1:1",
        store="memory://",
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        datadir=str(tmp_path),
    )


OVERRIDDEN = [
    (ours, theirs, name)
    for ours, theirs in (
        (transport.Consumer, consumer.Consumer),
        (transport.Producer, producer.Producer),
        (transport.Transport, base.Transport),
    )
    for name in vars(ours)
    if hasattr(theirs, name) and callable(getattr(ours, name)) and not name.startswith("__")
]


@pytest.mark.parametrize(
    ("ours", "theirs", "name"), OVERRIDDEN, ids=[f"{o.__name__}.{n}" for o, _, n in OVERRIDDEN]
)
def test_an_overridden_method_can_be_called_as_faust_calls_it(ours: type, theirs: type, name: str) -> None:
    mine, original = inspect.signature(getattr(ours, name)), inspect.signature(getattr(theirs, name))
    assert inspect.iscoroutinefunction(getattr(ours, name)) == inspect.iscoroutinefunction(
        inspect.unwrap(getattr(theirs, name))
    )
    if any(each.kind is each.VAR_KEYWORD for each in mine.parameters.values()):
        return
    assert list(mine.parameters) == list(original.parameters)


NEEDED = [
    "subscribe", "on_stop", "assignment", "_drain_messages", "stop_flow", "resume_flow", "wait_empty", "commit",
    "perform_seek", "create_topic", "close", "crash",
]  # fmt: skip


@pytest.mark.parametrize("name", NEEDED)
def test_a_hook_is_still_there(name: str) -> None:
    assert hasattr(consumer.Consumer, name) or name in consumer.ConsumerT.__abstractmethods__


CALLS = {
    "the fetcher drains messages": (consumer.Fetcher, "consumer._drain_messages(self)"),
    "the conductor subscribes": (conductor.Conductor, "self.app.consumer.subscribe("),
    "a revocation stops the flow and clears queues": (App._on_partitions_revoked, "self.flow_control.clear"),
    "a revocation hears whether streams are empty": (App._on_partitions_revoked, "self._consumer_wait_empty"),
    "an assignment ends in its signal": (App._on_partitions_assigned, "self.on_partitions_assigned.send"),
    "a rebalance needs the generation of the app": (Recovery.on_rebalance, "app.consumer_generation_id"),
    "the flow resumes after the seek": (Recovery._resume_streams, "consumer.perform_seek()"),
    "the streams resume": (Recovery._resume_streams, "consumer.resume_flow()"),
    "stopping stops the flow": (App._stop_consumer, "consumer.stop_flow()"),
    "stopping waits for streams": (App._stop_consumer, "self._consumer_wait_empty"),
    "the start asks the boot for its services": (App.on_init_dependencies, "self.boot_strategy.server()"),
    "the boot's services have the web server among them": (BootStrategy.server, "self.web_server()"),
    "a pure stream acknowledges through _acked": (consumer.Consumer.ack, "acked_for_tp.append(offset)"),
}


@pytest.mark.parametrize("fact", CALLS)
def test_faust_calls_the_hooks(fact: str) -> None:
    where, call = CALLS[fact]
    assert call in inspect.getsource(inspect.unwrap(where) if callable(where) else where)


class Ended:
    """Remembers which batches the transport saw ending."""

    def __init__(self, app: faust.App) -> None:
        self.values: list[Any] = []
        app.consumer.batches = self

    def finish(self, batch: Any) -> None:
        self.values.append(batch)


class FakeBatch(list[int]):
    """As much of a batch as a message shows of it."""

    offsets = {TP("t", 0): 3}  # noqa: RUF012  # never changed


async def listening(app: faust.App) -> tuple[Any, Any]:
    """Give a topic with a stream on it, as an agent has it."""
    topic = transport.batches(app, Channel(name="t", topics=("t",)))
    app.topics._acking_topics.add("t")
    app.consumer_generation_id = 1
    app.flow_control.resume()
    stream = app.stream(topic)
    await stream.start()
    return stream.channel, stream


async def put(app: faust.App, topic: Any, batch: FakeBatch) -> None:
    message = app.consumer._message(batch)
    message.incref(1)
    topic.queue.put_nowait(await topic.decode(message))


def test_an_event_is_the_batch_and_taking_the_next_one_acknowledges_it(app: faust.App) -> None:
    async def scenario() -> None:
        topic, stream = await listening(app)
        ended = Ended(app)
        batches = [FakeBatch([1]), FakeBatch([2])]
        for batch in batches:
            await put(app, topic, batch)
        events: AsyncIterator[Any] = stream.__aiter__()
        assert await anext(events) is batches[0]
        assert ended.values == []
        assert await anext(events) is batches[1]
        assert ended.values == batches[:1]
        await stream.stop()

    asyncio.run(scenario())


@pytest.mark.parametrize("how", ["cleared", "of an older generation"])
def test_an_event_that_faust_throws_away_ends_its_batch(app: faust.App, how: str) -> None:
    async def scenario() -> None:
        topic, stream = await listening(app)
        ended = Ended(app)
        events: AsyncIterator[Any] = stream.__aiter__()
        await put(app, topic, FakeBatch([1]))
        if how == "cleared":
            app.flow_control.clear()
        else:
            app.consumer_generation_id = 2
            await put(app, topic, FakeBatch([2]))
            assert await anext(events) == [2]
        gc.collect()
        await asyncio.sleep(0.01)
        assert ended.values == [[1]]
        await stream.stop()

    asyncio.run(scenario())


def test_the_compiled_stream_acknowledges_through_acked_append() -> None:
    source = Path(faust._cython.__file__).with_name("streams.pyx").read_text()
    for line in ("consumer._committed_offset[tp]", "consumer._acked[tp]", "acked_for_tp.append(offset)"):
        assert line in source


def test_the_scheme_is_found_and_the_address_is_that_of_the_url(app: faust.App) -> None:
    assert isinstance(app.transport, transport.Transport)
    assert app.transport.connection.bootstrap == "127.0.0.1:1"


def test_faust_writes_nothing(app: faust.App) -> None:
    async def scenario() -> None:
        with pytest.raises(transport.NotUsed, match="send to t"):
            await app.producer.send("t", None, None, None, None, None)

    asyncio.run(scenario())
