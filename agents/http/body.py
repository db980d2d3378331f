"""The body of a call: read within bounds of size and time, and cut into records."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from agents.http.problems import Problem, dump
from schemas.errors import BadRecord
from schemas.formats import AVRO_MARK

JSON: Final = "application/json"
AVRO: Final = "application/avro"
_BROKEN: Final = (aiohttp.ClientPayloadError, HttpProcessingError, web.RequestPayloadError)


@dataclass(frozen=True, slots=True)
class Body:
    """What a call sends.

    Parameters
    ----------
    records
        Each record as parsed from JSON, or as the bytes of Avro.
    listed
        Whether they came as a list, so that a list is the answer.
    """

    records: list[Any]
    listed: bool


async def read_body(request: web.Request, limit: int, most: int, within_s: float) -> Body:
    """Read the body of a call.

    Parameters
    ----------
    limit
        Most bytes, after decompression.
    most
        Most records of a list.
    within_s
        Time for all of it to arrive, in s.

    Raises
    ------
    Problem
        400, 408, 413 or 415.
    """
    kind = request.content_type
    charset = (request.charset or "utf-8").lower().replace("_", "-")
    if kind not in {JSON, AVRO} or charset not in {"utf-8", "utf8", "us-ascii"}:
        said = f"{kind}; charset={charset}" if request.charset else kind
        raise Problem(
            415,
            "wrong_content_type",
            f"the content type is {said[:100]}; send {JSON} in UTF-8, or one record as {AVRO} "
            "(single-object encoding)",
            headers={"Accept": f"{JSON}, {AVRO}"},
        )
    try:
        async with asyncio.timeout(
            None if request.content.is_eof() else within_s
        ):  # a timer costs as much as reading
            data = await _bytes(request, limit)
    except TimeoutError:
        raise Problem(408, "slow_body", f"the body did not arrive within {within_s:g} s") from None
    except _BROKEN as error:
        message = f"the body cannot be read: {type(error).__name__}; check its transfer and content encoding"
        raise Problem(400, "bad_request", message) from error
    if kind == AVRO:
        if not data.startswith(AVRO_MARK):
            message = f"{AVRO} is single-object encoding and starts with the bytes c3 01; this body does not"
            raise Problem(400, "unreadable", message)
        return Body([data], listed=False)
    found = _parse(data)
    if not isinstance(found, list):
        return Body([found], listed=False)
    if len(found) > most:
        raise Problem(413, "too_many", f"the list has {len(found):,} records, one call may have {most:,}")
    return Body(found, listed=True)


def as_bytes(record: Any) -> bytes:
    """Give a record's bytes for the codec, which then says what is wrong with it.

    Raises
    ------
    BadRecord
        For what is not an object.
    """
    if isinstance(record, bytes):
        return record
    if not isinstance(record, dict):
        raise BadRecord("wrong_type", "a record must be a JSON object")
    try:
        # Numbers keep their bits: json writes the shortest text that reads back as the same double.
        return json.dumps(record).encode()
    except RecursionError:
        raise BadRecord("malformed", "the JSON is nested too deeply") from None


def said_id(record: Any) -> str | None:
    """Give the request_id that a record says, where it can be repeated to the caller."""
    found = record.get("request_id") if isinstance(record, dict) else None
    return found[:200] if isinstance(found, str) else None


async def _bytes(request: web.Request, limit: int) -> bytes:
    # Not request.read(): its limit is the web application's, and that one is Faust's.
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    parts, size = [], 0
    async for part in request.content.iter_any():
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
    return b"".join(parts)


def _too_large(limit: int) -> Problem:
    return Problem(413, "too_large", f"the body is larger than {limit:,} bytes: send fewer records")


def _parse(data: bytes) -> Any:
    try:
        return json.loads(data.decode(), object_pairs_hook=_once)
    except UnicodeDecodeError as error:
        message = f"the body is not valid UTF-8 at byte {error.start}"
    except RecursionError:
        message = "the JSON is nested too deeply"
    except json.JSONDecodeError as error:
        message = f"not valid JSON: {error.msg} (line {error.lineno}, column {error.colno})"
    except ValueError:
        message = "not valid JSON: a whole number has too many digits"
    raise Problem(400, "malformed", message)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)[:60]
        raise Problem(400, "malformed", f"the JSON has the key {twice!r} twice", twice)
    return found


def single_or_list(body: Body, results: list[bytes | Problem], status: int) -> tuple[bytes, int]:
    """Make the answer of the answers to each record.

    One record: its answer, or its problem raised. A list: the same order, problems in their places; when
    there is nothing but problems, one that has them all.

    Raises
    ------
    Problem
        When no record could be used.
    """
    problems = [each for each in results if isinstance(each, Problem)]
    if body.listed:
        for index, each in enumerate(results):
            if isinstance(each, Problem):
                each.more["index"] = index
    if not body.listed and problems:
        raise problems[0]
    if problems and len(problems) == len(results):
        # A caller may repeat what a 503 refused; so one of them decides.
        statuses = {each.status for each in problems}
        decided = 503 if 503 in statuses else 422
        raise Problem(
            decided,
            "none_usable",
            f"none of the {len(results):,} records could be used; `problems` says why",
            problems=[each.data() for each in problems],
        )
    out = [each if isinstance(each, bytes) else dump(each.data()) for each in results]
    return (b"[" + b",".join(out) + b"]" if body.listed else out[0]), status
