"""The body of a call: read within bounds of size and time, parsed once, and cut into records."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import aiohttp
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from agents.http.problems import Problem, dump
from schemas.codec.json_form import load
from schemas.errors import BadRecord
from schemas.formats import AVRO_MARK
from schemas.topics import MAX_RECORD_BYTES

JSON: Final = "application/json"
AVRO: Final = "application/avro"
OFF_LOOP_BYTES: Final = 65_536
"""A larger body is parsed in a thread: other calls, such as probes of liveness, are answered meanwhile."""
_BROKEN: Final = (aiohttp.ClientPayloadError, HttpProcessingError, web.RequestPayloadError)


@dataclass(frozen=True, slots=True)
class Body:
    """What a call sends.

    Parameters
    ----------
    records
        Each record as parsed from JSON, or as the bytes of Avro, or `Oversized`.
    listed
        Whether they came as a list, so that a list is the answer.
    """

    records: list[Any]
    listed: bool


@dataclass(frozen=True, slots=True)
class Oversized:
    """In the place of a record that is larger than a record may be.

    Parameters
    ----------
    size
        Its bytes, written compactly.
    request_id
        The one that it gives, if it gives one.
    """

    size: int
    request_id: str | None


class BodyReader:
    """Reads the bodies of calls.

    Parameters
    ----------
    limit
        Most bytes, after decompression.
    most
        Most records of a list.
    within_s
        Time for all of a body to arrive, in s.
    """

    def __init__(self, limit: int, most: int, within_s: float) -> None:
        self._limit, self._most, self._within_s = limit, most, within_s
        # One thread: parsing holds the interpreter, so a second one would only take the event loop's turns.
        self._parser = ThreadPoolExecutor(1, thread_name_prefix="http-json")

    async def read(self, request: web.Request) -> Body:
        """Read the body of a call.

        Raises
        ------
        Problem
            400, 408, 413 or 415.
        """
        data = await _arrived(request, self._limit, self._within_s)
        if request.content_type == AVRO:
            if not data.startswith(AVRO_MARK):
                message = f"{AVRO} must be single-object encoding, which starts with the bytes c3 01"
                raise Problem(400, "unreadable", message)
            if len(data) > MAX_RECORD_BYTES:
                return Body([Oversized(len(data), None)], listed=False)
            return Body([data], listed=False)
        if len(data) <= OFF_LOOP_BYTES:
            return _cut(data, self._most)
        return await asyncio.get_running_loop().run_in_executor(self._parser, _cut, data, self._most)

    def close(self) -> None:
        """Let the thread end."""
        self._parser.shutdown(wait=False, cancel_futures=True)


async def _arrived(request: web.Request, limit: int, within_s: float) -> bytes:
    kind = request.content_type
    charset = (request.charset or "utf-8").lower().replace("_", "-")
    if kind not in {JSON, AVRO} or charset not in {"utf-8", "utf8", "us-ascii"}:
        said = f"{kind}; charset={charset}" if request.charset else kind
        raise Problem(
            415,
            "wrong_content_type",
            f"the content type {said[:100]} is not supported: send {JSON} in UTF-8, or one record as {AVRO} "
            "(single-object encoding)",
            headers={"Accept": f"{JSON}, {AVRO}"},
        )
    try:
        if request.content.is_eof():
            return await _bytes(request, limit)
        async with asyncio.timeout(within_s):
            return await _bytes(request, limit)
    except TimeoutError:
        raise Problem(408, "slow_body", f"the body did not arrive within {within_s:g} s") from None
    except _BROKEN as error:
        message = f"the body is invalid ({type(error).__name__}): check its transfer and content encoding"
        raise Problem(400, "bad_request", message) from error


def _cut(data: bytes, most: int) -> Body:
    """Parse a body and cut it into its records; the one pass over it that takes time."""
    try:
        found = load(data)
    except BadRecord as bad:
        raise Problem.of(bad) from None
    listed = isinstance(found, list)
    records = found if listed else [found]
    if len(records) > most and listed:
        raise Problem(413, "too_many", f"the list has {len(records):,} records; the maximum is {most:,}")
    if len(data) > MAX_RECORD_BYTES:  # else none of them can be larger
        records = [_bounded(each) for each in records]
    return Body(records, listed)


def _bounded(record: Any) -> Any:
    if not isinstance(record, dict):
        return record
    try:
        text = json.dumps(record, separators=(",", ":"), ensure_ascii=False)
    except RecursionError:
        return record  # the codec says what is wrong with it
    size = len(text.encode("utf-8", "surrogatepass"))
    return Oversized(size, said_id(record)) if size > MAX_RECORD_BYTES else record


T = TypeVar("T")


def read_record(record: Any, decode: Callable[[bytes | dict[str, Any]], T]) -> T:
    """Make a record of one of `Body.records`.

    Raises
    ------
    BadRecord
        For what is not a record, or too large.
    """
    if isinstance(record, Oversized):
        message = f"the record has {record.size:,} bytes; the maximum is {MAX_RECORD_BYTES:,}"
        raise BadRecord("too_large", message)
    if not isinstance(record, bytes | dict):
        raise BadRecord("wrong_type", "a record must be a JSON object")
    return decode(record)


def said_id(record: Any) -> str | None:
    """Return the request_id that a record says, where it can be repeated to the caller."""
    if isinstance(record, Oversized):
        return record.request_id
    found = record.get("request_id") if isinstance(record, dict) else None
    return found[:200] if isinstance(found, str) else None


async def _bytes(request: web.Request, limit: int) -> bytes:
    # Not request.read(): its limit is the web application's, and that one is Faust's.
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    if request.content.is_eof():  # all of it came with the head, and an iteration costs as much as reading
        data = request.content.read_nowait()
        if len(data) > limit:
            raise _too_large(limit)
        return data
    parts, size = [], 0
    async for part in request.content.iter_any():
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
    return b"".join(parts)


def _too_large(limit: int) -> Problem:
    return Problem(413, "too_large", f"the body exceeds {limit:,} bytes: send fewer records")


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
        # A caller may repeat what a 503 rejected; so one of them decides.
        statuses = {each.status for each in problems}
        decided = 503 if 503 in statuses else 422
        raise Problem(
            decided,
            "none_usable",
            f"all {len(results):,} records were rejected; see `problems`",
            problems=[each.data() for each in problems],
        )
    out = [each if isinstance(each, bytes) else dump(each.data()) for each in results]
    return (b"[" + b",".join(out) + b"]" if body.listed else out[0]), status
