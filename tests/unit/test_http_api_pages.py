"""A worker describes its own HTTP: OpenAPI at /openapi.json, a page at /docs."""

from __future__ import annotations

import asyncio
import json
import re
from html.parser import HTMLParser

from agents.http.api_pages import page
from tests.unit.http_worker import OPENAPI, HeldWriter, make_http_task, operations, serving


class Outline(HTMLParser):
    """What a page has: its ids, its links, its tags left open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids += [each for each in (found.get("id"),) if each]
        self.links += [each for name in ("href", "src") if (each := found.get(name))]
        if tag not in {"meta", "link"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_openapi_is_served_with_the_tasks_of_this_worker() -> None:
    async def run() -> None:
        tasks = {name: make_http_task(name) for name in ("stay", "leave")}
        async with serving(tasks, HeldWriter()) as client:
            reply = await client.get("/openapi.json")
        assert (reply.status, reply.kind) == (200, "application/json")
        assert set(reply.data["paths"]) == set(OPENAPI["paths"])
        for path, methods in reply.data["paths"].items():
            for call in methods.values():
                enums = [
                    each["schema"].get("enum")
                    for each in call.get("parameters", [])
                    if each["name"] == "task"
                ]
                assert enums == ([["stay", "leave"]] if "{task}" in path else [])

    asyncio.run(run())


def test_the_page_has_every_call_and_object_and_its_links_lead_somewhere() -> None:
    async def run() -> str:
        async with (
            serving(make_http_task(), HeldWriter()) as client,
            client.request("GET", "/docs") as answer,
        ):
            assert (answer.status, answer.content_type, answer.charset) == (200, "text/html", "utf-8")
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            text: str = await answer.text()
            outline = Outline(text)
            for link in outline.links:
                if link.startswith("#"):
                    assert link[1:] in outline.ids
                else:
                    assert link.startswith("/")
                    async with client.request("GET", link) as linked:
                        assert linked.status == 200
            return text

    text = asyncio.run(run())
    outline = Outline(text)
    assert outline.open == []
    assert len(set(outline.ids)) == len(outline.ids)
    assert text.count("<h1>") == 1
    assert "<script" not in text
    plain = re.sub(r"<[^>]+>", "", text)
    for method, path in operations():
        assert f"{method} {path}" in plain
    for name in OPENAPI["components"]["schemas"]:
        assert f"schema-{name}" in outline.ids
    for status, reply in OPENAPI["paths"]["/tasks/{task}/outcomes"]["post"]["responses"].items():
        assert f"<td>{status}</td><td>{reply['description']}</td>".replace("'", "&#x27;") in text


def test_nothing_in_a_description_becomes_markup() -> None:
    evil = "<script>alert('x')</script>"
    described = json.loads(json.dumps(OPENAPI).replace("riverloop", evil))
    described["paths"]["/live"]["get"]["summary"] = evil
    described["components"]["schemas"]["Live"]["description"] = evil
    assert "<script" not in page(described)
