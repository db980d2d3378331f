"""The description of HTTP, as a worker serves it: OpenAPI for programs, a page for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from agents.http.live import SAFE
from agents.http.problems import answer, dump
from agents.http.route import Route

STYLE: Final = "docs.css"
REF: Final = "#/components/schemas/"
Node = Mapping[str, Any]


def description_file() -> Path:
    """Return `openapi.json`: in a checkout, or as installed."""
    here = Path(__file__).resolve().parent
    checkout = here.parents[1] / "docs" / "reference" / "openapi.json"
    return checkout if checkout.is_file() else here / "openapi.json"


def describe(tasks: Iterable[str]) -> dict[str, Any]:
    """Return the description, with the names of the tasks where a path has one."""
    found: dict[str, Any] = json.loads(description_file().read_text("utf-8"))
    found["info"]["version"] = version("riverloop")
    names = list(tasks)
    for methods in found["paths"].values():
        for call in methods.values():
            for each in call.get("parameters", ()):
                if each["name"] == "task" and names:
                    each["schema"] = each["schema"] | {"enum": names}
    return found


class ApiPages:
    """What answers at `/openapi.json` and `/docs`."""

    def __init__(self, tasks: Mapping[str, Any]) -> None:
        self._tasks = tasks
        self._made: dict[tuple[str, ...], tuple[bytes, str]] = {}

    def routes(self) -> tuple[Route, ...]:
        """Return the paths."""
        return (Route("GET", "/openapi.json", self.openapi), Route("GET", "/docs", self.docs))

    async def openapi(self, request: web.Request) -> web.Response:
        """Return the description for programs."""
        return answer(self._both()[0])

    async def docs(self, request: web.Request) -> web.Response:
        """Return the page for people."""
        return web.Response(text=self._both()[1], content_type="text/html", headers=SAFE)

    def _both(self) -> tuple[bytes, str]:
        names = tuple(self._tasks)
        if names not in self._made:
            description = describe(names)
            self._made = {names: (dump(description), page(description))}
        return self._made[names]


# ---------------------------------------------------------------------- the page


def page(description: Node) -> str:
    """Write the page: every call, then every object that is sent or answered."""
    info = description["info"]
    calls = [
        (f"{method.upper()} {path}", call)
        for path, methods in description["paths"].items()
        for method, call in methods.items()
    ]
    schemas = description["components"]["schemas"]
    entries = "".join(
        f'<li><a href="#{call["operationId"]}"><code>{escape(n)}</code></a></li>' for n, call in calls
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>HTTP of {escape(info["title"])}</title><link rel="icon" href="/assets/icon.svg">'
        f'<link rel="stylesheet" href="/assets/{STYLE}"></head><body><main>'
        f"<h1>HTTP of {escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info['description'])} "
        'For programs: <a href="/openapi.json">openapi.json</a>.</p>'
        f"<nav><ul>{entries}</ul></nav>"
        + "".join(_call(name, call) for name, call in calls)
        + "".join(_object(name, schema) for name, schema in schemas.items())
        + "</main></body></html>\n"
    )


def _call(name: str, call: Node) -> str:
    text = f"{call['summary']} {call.get('description', '')}".strip()
    tokens = [key for each in call.get("security", ()) for key in each]
    if tokens:
        text += f" Token, where one is set: {' or '.join(tokens)}."
    parts = [f'<section id="{call["operationId"]}"><h2><code>{escape(name)}</code></h2><p>{escape(text)}</p>']
    if call.get("parameters"):
        rows = [
            (
                f"<code>{escape(each['name'])}</code>",
                _type(each["schema"]),
                escape(each.get("description", "")),
            )
            for each in call["parameters"]
        ]
        parts.append(_table("Parameters", ("name", "type", "meaning"), rows))
    if "requestBody" in call:
        parts.append(_table("Body", ("content type", "what"), _contents(call["requestBody"]["content"])))
    replies = [
        (escape(status), escape(reply["description"]), kind, what)
        for status, reply in call["responses"].items()
        for kind, what in _contents(reply.get("content", {})) or [("", "")]
    ]
    parts.append(_table("Answers", ("status", "meaning", "content type", "what"), replies))
    return "".join([*parts, "</section>"])


def _contents(content: Node) -> list[tuple[str, str]]:
    return [(f"<code>{escape(kind)}</code>", _type(each.get("schema", {}))) for kind, each in content.items()]


def _object(name: str, schema: Node) -> str:
    required = schema.get("required", ())
    rows = [
        (
            f"<code>{escape(key)}</code>",
            _type(each),
            "yes" if key in required else "",
            escape(each.get("description", "")),
        )
        for key, each in schema.get("properties", {}).items()
    ]
    table = _table("Members", ("name", "type", "required", "meaning"), rows) if rows else ""
    text = escape(schema.get("description", ""))
    return f'<section id="schema-{escape(name)}"><h2>{escape(name)}</h2><p>{text}</p>{table}</section>'


def _table(caption: str, head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    top = "".join(f'<th scope="col">{each}</th>' for each in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f'<div class="wide"><table><caption>{caption}</caption><thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _type(schema: Node) -> str:
    """Write what a schema takes, in words; objects are links to their own section."""
    return " or ".join(dict.fromkeys(_types(schema)))


def _types(schema: Node) -> Iterator[str]:
    if "$ref" in schema:
        name = escape(schema["$ref"].removeprefix(REF))
        yield f'<a href="#schema-{name}">{name}</a>'
    elif "oneOf" in schema or "anyOf" in schema:
        for each in schema.get("oneOf") or schema["anyOf"]:
            yield from _types(each)
    elif "enum" in schema:
        yield ", ".join(f"<code>{escape(str(each))}</code>" for each in schema["enum"])
    elif schema.get("type") == "array":
        yield f"list of {_type(schema.get('items', {})) or 'anything'}"
    else:
        found = schema.get("type", ())
        bounds = [
            f"{word} {schema[key]}" for key, word in (("minimum", "from"), ("maximum", "to")) if key in schema
        ]
        for each in [found] if isinstance(found, str) else found:
            yield escape(" ".join([each, *bounds]))
