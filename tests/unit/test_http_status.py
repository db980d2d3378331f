from __future__ import annotations

import asyncio
import json
import time

from schemas.records import Entry, Outcome
from tests.unit.http_worker import SENT, HeldWriter, make_http_task, serving


def test_a_worker_is_live_while_it_is_not_ready_and_ready_names_what_it_waits_for() -> None:
    async def run() -> None:
        stay, shop = make_http_task("stay"), make_http_task("shop", ready=False)
        async with serving({"stay": stay, "shop": shop}, HeldWriter()) as client:
            live = await client.get("/live")
            waiting = await client.get("/ready")
            shop.readiness.set_ready()
            ready = await client.get("/ready")
            tasks = await client.get("/tasks")
        assert live.data == {"status": "live"}
        assert (waiting.status, waiting.reason) == (503, "not_ready")
        assert waiting.data["detail"] == "shop: restoring the models"
        assert waiting.data["tasks"]["stay"] == {"ready": True}
        assert "Retry-After" in waiting.headers
        assert (ready.status, ready.data["status"]) == (200, "ready")
        assert [(each["task"], each["models"]) for each in tasks.data] == [
            ("stay", ["lr", "other"]),
            ("shop", ["lr", "other"]),
        ]

    asyncio.run(run())


def test_readiness_names_a_cluster_that_does_not_acknowledge_and_comes_back_by_itself() -> None:
    async def run() -> None:
        task = make_http_task()
        async with serving(task, HeldWriter()) as client:
            task.readiness.cluster.silent("the Kafka cluster at kafka:9092 does not answer")
            task.readiness.cluster.failed("HTTP", time.monotonic(), "timed out")
            waiting = [await client.get(path) for path in ("/ready", "/readyz")]
            alive = [await client.get(path) for path in ("/live", "/livez")]
            health = await client.get("/healthz")
            scrape = await client.page("/metrics")
            task.readiness.cluster.answered()
            task.readiness.cluster.acknowledged("HTTP")
            ready = await client.get("/readyz")
            scraped = await client.page("/metrics")
        reasons = [
            "the Kafka cluster at kafka:9092 does not answer",
            "the Kafka cluster did not acknowledge a write of HTTP: timed out",
        ]
        for each in waiting:
            assert (each.status, each.reason) == (503, "not_ready")
            assert each.data["tasks"]["stay"] == {
                "ready": False,
                "why": "; ".join(reasons),
                "reasons": reasons,
            }
        assert [(each.status, each.data) for each in alive] == [(200, {"status": "live"})] * 2
        assert (health.status, health.data["status"], health.data["ready"]) == (200, "live", False)
        assert health.data["tasks"]["stay"]["reasons"] == reasons
        assert "riverloop_cluster_reachable 0.0" in scrape
        assert 'riverloop_ready{task="stay"} 0.0' in scrape
        assert ready.status == 200
        assert "riverloop_cluster_reachable 1.0" in scraped

    asyncio.run(run())


def test_calls_are_counted_by_route_and_status_and_never_by_path() -> None:
    async def run() -> None:
        task = make_http_task()
        async with serving(task, HeldWriter()) as client:
            await client.post("/tasks/stay/predictions", SENT)
            await client.post("/tasks/stay/predictions", SENT | {"features": {}})
            await client.get("/tasks/stay/predictions/b-1")
            await client.get("/tasks/other/status")
            await client.get("/nothing/here")
            await client.get("/nothing/there")
            page = await client.page("/metrics")
        calls = [line for line in page.splitlines() if line.startswith("riverloop_http_requests_total{")]
        assert calls == [
            'riverloop_http_requests_total{route="/tasks/{task}/predictions",status="200"} 1.0',
            'riverloop_http_requests_total{route="/tasks/{task}/predictions",status="422"} 1.0',
            'riverloop_http_requests_total{route="/tasks/{task}/predictions/{request_id:.+}",status="200"} 1.0',
            'riverloop_http_requests_total{route="/tasks/{task}/status",status="404"} 1.0',
            'riverloop_http_requests_total{route="unmatched",status="404"} 2.0',
        ]
        assert 'riverloop_http_seconds_count{route="/tasks/{task}/predictions"} 2.0' in page
        assert 'riverloop_http_seconds_count{route="unmatched"}' not in page

    asyncio.run(run())


def test_a_worker_without_tasks_is_not_ready() -> None:
    async def run() -> None:
        async with serving({}, HeldWriter()) as client:
            assert (await client.get("/ready")).status == 503
            assert (await client.get("/tasks")).data == []

    asyncio.run(run())


def test_versions_say_which_models_answer() -> None:
    async def run() -> None:
        task = make_http_task()
        async with serving(task, HeldWriter()) as client:
            reply = await client.get("/tasks/stay/versions")
        assert [(each["version"], each["role"], each["active"]) for each in reply.data["models"]] == [
            ("lr.1@0", "served", True),
            ("other.1@1", "shadow", True),
        ]
        assert reply.data["models"][0]["spec"] == task.server.models[0].spec
        assert (reply.data["reached"], reply.data["next_offset"]) == (True, 2)

    asyncio.run(run())


def test_a_look_at_versions_waits_for_progress() -> None:
    async def run() -> None:
        task = make_http_task(partitions=2)
        path = "/tasks/stay/versions"
        async with serving(task, HeldWriter()) as client:

            async def progress() -> None:
                async with task.readiness.progress:
                    task.readiness.progress.notify_all()

            assert (await client.get(f"{path}?complete=4")).data["reached"] is False
            wait = asyncio.create_task(client.get(f"{path}?complete=4&wait_s=20"))
            await asyncio.sleep(0.1)
            task.statistics.completed[0] = 9
            await progress()
            await asyncio.sleep(0.1)
            assert not wait.done()  # the other partition has not come so far
            task.statistics.completed[1] = 4
            await progress()
            assert (await wait).data["completed"] == {"0": 9, "1": 4}

            wait = asyncio.create_task(client.get(f"{path}?applied=2&wait_s=20"))
            await asyncio.sleep(0.1)
            assert not wait.done()
            for fold in task.server.models:
                fold.apply(2, Entry("t", "time", 5))
            await progress()
            assert (await wait).data["reached"] is True

            started = time.monotonic()
            assert (await client.get(f"{path}?applied=99&wait_s=0.3")).data["reached"] is False
            assert 0.3 <= time.monotonic() - started < 5

    asyncio.run(run())


def test_a_wrong_query_names_its_parameter() -> None:
    async def run() -> None:
        async with serving(make_http_task(), HeldWriter()) as client:
            for query, field in (
                ("complete=soon", "complete"),
                ("applied=1.5", "applied"),
                ("wait_s=-1", "wait_s"),
                ("wait_s=nan", "wait_s"),
                ("wait_s=3600", "wait_s"),
            ):
                reply = await client.get(f"/tasks/stay/versions?{query}")
                assert (reply.status, reply.reason, reply.data["field"]) == (400, "bad_query", field)

    asyncio.run(run())


def test_status_has_counts_freshness_and_what_the_agents_add() -> None:
    async def run() -> None:
        task = make_http_task()
        async with serving(task, HeldWriter()) as client:
            empty = (await client.get("/tasks/stay/status")).data
            await client.post("/tasks/stay/predictions", SENT)
            await client.post("/tasks/stay/predictions", {})
            task.statistics.freshness_ms.extend(float(each) for each in range(1, 201))
            status = (await client.get("/tasks/stay/status")).data
        assert empty["freshness_ms"] == {"count": 0, "p50": 0.0, "p99": 0.0}
        assert status["freshness_ms"] == {"count": 200, "p50": 100.0, "p99": 198.0}
        assert status["counts"] == {"http_predictions": 1, "http_rejected": 1, "predictions": 1}
        assert (status["cached_predictions"], status["ready"]) == (1, True)
        assert status["models"]["lr"]["version"] == "lr.1@0"

    asyncio.run(run())


def test_digests_follow_the_state_and_are_equal_for_equal_folds() -> None:
    async def run() -> None:
        one, other = make_http_task("stay"), make_http_task("stay")
        prediction = one.server.predict(one.context.codec.decode_request(json.dumps(SENT).encode()))
        entry = Entry("e", "labelled", 9, prediction=prediction, outcome=Outcome("b-1", 9, True))
        async with serving(one, HeldWriter()) as client, serving(other, HeldWriter()) as second:
            before = (await client.get("/tasks/stay/digests")).data
            for task in (one, other):
                for fold in task.server.models:
                    fold.apply(2, entry)
            after = (await client.get("/tasks/stay/digests")).data
            assert after == (await second.get("/tasks/stay/digests")).data
            one.readiness.ready.clear()
            assert (await client.get("/tasks/stay/digests")).status == 503
        assert before["models"][0]["state"] != after["models"][0]["state"]
        assert after["models"][0]["state"] == one.server.models[0].digest
        assert (after["next_offset"], after["models"][0]["version"]) == (3, "lr.1@2")

    asyncio.run(run())
