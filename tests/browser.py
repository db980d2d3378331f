"""A headless Chromium for tests and pictures, driven over its DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import os
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import aiohttp

START_S = 60.0
CALL_S = 60.0
# Nothing of its own goes out; what a page asks for is seen by the test, and names other than these resolve nowhere.
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--metrics-recording-only",
    "--hide-scrollbars",
    "--disable-lcd-text",  # grey edges make smaller pictures
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--remote-debugging-port=0",
    "--remote-debugging-address=127.0.0.1",
)


class Tab:
    """One page of the browser: what it logs and asks for is kept.

    Parameters
    ----------
    socket
        The connection to its debugger.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self.complaints: list[str] = []
        """Errors and warnings of its console, and what it failed to run."""
        self.requested: list[str] = []
        """Every address that it asked for."""
        self._reader = asyncio.create_task(self._read())

    async def start(self) -> Self:
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.call(f"{domain}.enable")
        return self

    async def close(self) -> None:
        self._reader.cancel()
        await self._socket.close()

    async def call(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        async with asyncio.timeout(CALL_S):
            return await self._answers[number]

    async def run(self, expression: str) -> Any:
        """Give the value of an expression in the page."""
        reported = await self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in reported:
            raise AssertionError(f"{expression}: {reported['exceptionDetails']}")
        return reported["result"].get("value")

    async def until(self, expression: str, timeout_s: float = 30.0) -> None:
        """Wait until an expression is true. What cannot be worked out yet is not true."""
        tried = f"(() => {{ try {{ return !!({expression}); }} catch {{ return null; }} }})()"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not await self.run(tried):
                    await asyncio.sleep(0.1)
                return
        state = await self.run("document.body?.innerText.slice(0, 600)")
        raise AssertionError(
            f"never true: {expression}; complaints {self.complaints}; the page says: {state}"
        )

    async def size(self, width: int, height: int, *, mobile: bool = False) -> None:
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=mobile,
        )

    async def theme(self, name: str) -> None:
        """Set what the system prefers: light or dark."""
        features = [{"name": "prefers-color-scheme", "value": name}]
        await self.call("Emulation.setEmulatedMedia", features=features)

    async def key(self, key: str) -> None:
        """Press a key and let it go."""
        code = {"Tab": 9, "Enter": 13}.get(key, ord(key[0].upper()))
        reported = {"key": key, "windowsVirtualKeyCode": code}
        text = {"Enter": "\r", "Tab": ""}.get(key, key)
        await self.call(
            "Input.dispatchKeyEvent", type="keyDown", **reported, **({"text": text} if text else {})
        )
        await self.call("Input.dispatchKeyEvent", type="keyUp", **reported)

    async def picture(self) -> bytes:
        """Give what is seen, as PNG."""
        return base64.b64decode((await self.call("Page.captureScreenshot", format="png"))["data"])

    async def _read(self) -> None:
        async for message in self._socket:
            reported = json.loads(message.data)
            if "id" in reported:
                answer = self._answers.pop(reported["id"])
                if not answer.done():
                    if "error" in reported:
                        answer.set_exception(AssertionError(str(reported["error"])))
                    else:
                        answer.set_result(reported["result"])
            else:
                self._heard(reported["method"], reported["params"])

    def _heard(self, method: str, reported: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requested.append(reported["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(reported["exceptionDetails"])[:500])
        elif method == "Log.entryAdded" and reported["entry"]["level"] in {"error", "warning"}:
            self.complaints.append(f"{reported['entry']['text']} {reported['entry'].get('url', '')}")
        elif method == "Runtime.consoleAPICalled" and reported["type"] in {"error", "warning", "assert"}:
            self.complaints.append(json.dumps(reported["args"])[:500])


@asynccontextmanager
async def browser() -> AsyncIterator[Tab]:
    """Start Chromium with one empty tab; it ends with the block."""
    with tempfile.TemporaryDirectory(prefix="riverloop-chromium-", ignore_cleanup_errors=True) as folder:
        process = await asyncio.create_subprocess_exec(
            "chromium",
            *FLAGS,
            f"--user-data-dir={folder}",
            "about:blank",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            port = await _port(Path(folder) / "DevToolsActivePort", process)
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                    (page,) = [each for each in await answer.json() if each["type"] == "page"]
                socket = await session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0)
                tab = await Tab(socket).start()
                yield tab
                await tab.close()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def _port(file: Path, process: asyncio.subprocess.Process) -> int:
    """Wait until the browser has written the port of its debugger."""

    def written() -> int:
        with contextlib.suppress(FileNotFoundError, ValueError, IndexError):
            return int(file.read_text().splitlines()[0])
        return 0

    async with asyncio.timeout(START_S):
        while process.returncode is None:
            if port := written():
                return port
            await asyncio.sleep(0.1)
    raise AssertionError(f"chromium ended with {process.returncode}")
