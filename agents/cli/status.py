"""`riverloop status`: prints the state of a task's loop, as any of its workers reports it."""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from agents.cli.common import json_option, print_json, shown
from agents.http.address import authority
from agents.settings import from_environment
from infra.taskfile import load_task
from schemas.errors import BrokerError, UsageError
from schemas.escaped import harmless

URL: Final = "RIVERLOOP_WORKER_URL"
EVERYWHERE: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - where a worker listens, not this command
EVERY_S: Final = 1.0
TIMEOUT_S: Final = 15.0
MOST_BYTES: Final = 16 * 1024 * 1024
EPISODES: Final = 5
SCORES: Final = ("roc_auc", "log_loss", "accuracy", "f1", "mae", "rmse", "r2")
NUMBERS: Final = frozenset({"learned", "skipped", "failed"})
SPANS: Final = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


@click.command(
    epilog="Example: riverloop status hotel-cancellation --worker-url http://127.0.0.1:8080 --watch"
)
@click.argument("task")
@click.option(
    "--worker-url",
    metavar="URL",
    help=f"URL of any worker of the task. [{URL}; default: 127.0.0.1:RIVERLOOP_HTTP_PORT]",
)
@click.option("--watch", is_flag=True, help="Refresh every second until Ctrl-C.")
@json_option
def status(task: str, worker_url: str | None, watch: bool, as_json: bool) -> None:
    """Print rates and lag of the stages of TASK, its quality, episodes and dead letters.

    TASK may also be the task's name. Any worker reports the whole task, as on its live page.
    """
    if watch and as_json:
        raise UsageError("--watch and --json exclude each other")
    url = url_of_worker(worker_url)
    name = load_task(task).task.name if any(sign in task for sign in "./:") else task
    if as_json:
        print_json(ask(url, name))
    elif watch:
        with suppress(KeyboardInterrupt), Live(console=Console(), auto_refresh=False, screen=True) as live:
            while True:
                try:
                    view: Any = drawn(ask(url, name))
                except BrokerError as error:
                    view = Text(f"{error}; retrying every second", style="bold red")
                live.update(view, refresh=True)
                time.sleep(EVERY_S)
    else:
        Console().print(drawn(ask(url, name)))


def ask(url: str, task: str) -> dict[str, Any]:
    """Ask a worker for the state of a task.

    Raises
    ------
    UsageError
        When it does not run the task.
    BrokerError
        When it does not answer.
    """
    place = f"{url.rstrip('/')}/tasks/{urllib.parse.quote(task, safe='')}/live/state"
    try:
        with urllib.request.urlopen(place, timeout=TIMEOUT_S) as answer:  # noqa: S310  checked by _url
            found: dict[str, Any] = json.loads(answer.read(MOST_BYTES))
            return found
    except urllib.error.HTTPError as error:
        detail = _detail(error)
        if error.code == 404:
            raise UsageError(f"the worker at {url} answered: {detail}") from error
        raise BrokerError(f"the worker at {url} answered: {detail}") from error
    except (OSError, ValueError) as error:
        raise BrokerError(f"no worker answers at {url}: {error}") from error


def _detail(error: urllib.error.HTTPError) -> str:
    try:
        return harmless(str(json.loads(error.read(MOST_BYTES))["detail"]))
    except (ValueError, KeyError, TypeError, OSError):
        return f"{error.code} {error.reason}"


def url_of_worker(given: str | None) -> str:
    """Return the worker's URL, as given or from the environment.

    Raises
    ------
    UsageError
        When neither has it.
    """
    port = from_environment("http_port")
    host = from_environment("http_host")
    here = authority(host if host not in EVERYWHERE else "127.0.0.1", port)
    url = given or os.environ.get(URL) or (f"http://{here}" if port not in {"", "0"} else "")
    if not url:
        raise UsageError(
            f"no worker: set --worker-url http://127.0.0.1:PORT or {URL}; a worker logs its address when it starts"
        )
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"--worker-url {url[:100]!r} must begin with http:// or https://")
    return url


# ---------------------------------------------------------------------- drawing


def drawn(state: dict[str, Any]) -> Group:
    """Draw a state: the loop, the models, open episodes, dead letters."""
    facts, worker = state["facts"], state["worker"]
    parts: list[Any] = [Text.assemble((facts["task"], "bold"), "  ", (_clean(facts["question"]), "dim"))]
    parts.append(_verdict(state["verdict"]))
    if worker["problem"]:
        parts.append(Text(f"stale: {_clean(worker['problem'])}", style="bold red"))
    if not worker["ready"]:
        parts.append(Text(f"not ready: {_clean(worker['why'])}", style="yellow"))
    return Group(
        *parts, _stages(state), _models(state), *_gains(state), *_episodes(state), *_dead_letters(state)
    )


def _verdict(verdict: dict[str, Any]) -> Text:
    style = {"healthy": "green", "degraded": "yellow", "down": "red"}[verdict["state"]]
    since = datetime.fromtimestamp(verdict["since"] / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    reasons = [
        f"\n  {each['what']}: {_clean(each['why'])} ({each['runbook']}.md)" for each in verdict["reasons"]
    ]
    return Text.assemble((verdict["state"], f"bold {style}"), f" since {since}", *reasons)


def _stages(state: dict[str, Any]) -> Table:
    loop, worker = state["loop"], state["worker"]
    counts, rates, values, lags = loop["counts"], loop["rates"], loop["values"], worker["lag"]
    asked = (counts["requests"] or 0) + (counts["requests_rejected"] or 0)
    arriving = (rates["requests"] or 0) + (rates["requests_rejected"] or 0)
    unread = None if worker["log_end"] is None else max(0, worker["log_end"] - worker["next_offset"] - 1)
    fresh = worker["freshness_ms"]
    waiting = values.get("waiting")
    kinds = [f"{counts[name]:,.0f} {name}" for name in ("labelled", "expired", "late") if counts[name]]
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for name in ("", "total", "per second", "lag", ""):
        table.add_column(name, justify="right" if name else "left")
    rows = (
        (
            "requests",
            asked,
            arriving,
            lags.get("requests"),
            f"{counts['requests_rejected'] or 0:,.0f} rejected",
        ),
        ("predictions", counts["predictions"], rates["predictions"], lags.get("predictions"), ""),
        ("waiting", waiting, None, None, f"oldest {span(values.get('oldest_waiting'))}"),
        ("resolved", counts["resolved"], rates["resolved"], lags.get("outcomes"), ", ".join(kinds)),
        (
            "learned",
            worker["models"][0]["learned"],
            worker["learned_rate"],
            unread,
            f"p50 {fresh['p50']:.0f} ms, p99 {fresh['p99']:.0f} ms after arrival",
        ),
    )
    for name, count, rate, lag, more in rows:
        speed = "" if rate is None else f"{rate:,.1f}"
        table.add_row(Text(name, style="bold"), _whole(count), speed, _whole(lag), Text(more, style="dim"))
    return table


def _models(state: dict[str, Any]) -> Table:
    rolling = state["facts"]["rolling"]
    found = {name: each["windows"].get(rolling, {}) for name, each in state["quality"].items()}
    names = [name for name in SCORES if any(name in each for each in found.values())]
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for column in ("model", "role", "learned", "skipped", "failed", *(n.replace("_", " ") for n in names)):
        table.add_column(column, justify="right" if column in NUMBERS else "left")
    for each in state["worker"]["models"]:
        values = found.get(each["model"], {})
        counts = (_whole(each["learned"]), _skipped(each), _whole(each["failures"]))
        table.add_row(each["version"], each["role"], *counts, *(shown(values.get(name)) for name in names))
    if names:
        table.caption = f"over the {rolling.replace('_', ' ')} labels"
        table.caption_justify = "left"
    return table


def _skipped(model: dict[str, Any]) -> Text:
    """Format the entries that a model has skipped, and where it has stopped learning."""
    count = _whole(model["skipped"])
    if model["stopped"]:
        return Text(f"{count}, stopped at offset {model['stopped']['offset']:,}", style="bold red")
    if model["lately_skipped"]:
        return Text(f"{count}, {model['lately_skipped']:,} of the last 1,000", style="yellow")
    return Text(count)


def _gains(state: dict[str, Any]) -> list[Text]:
    loss = "absolute error" if state["facts"]["kind"] == "regression" else "log loss"
    return [
        Text(
            f"{each['shadow']} versus {each['against']}: {loss} lower by {shown(each.get('gain'))} "
            f"({shown(each.get('low'))} to {shown(each.get('high'))}, 95 %; {_whole(each['count'])} labels)"
        )
        for each in state["gains"].values()
    ]


def _episodes(state: dict[str, Any]) -> list[Text]:
    open_ = [each for each in state["episodes"] if each["state"] != "closed"]
    if not open_:
        return [Text(f"no open episode; {len(state['episodes'])} in all")]
    open_.sort(key=lambda each: each["severity"] == "info")
    lines = [
        Text.assemble((f"{each['severity']} {each['family']}  ", _style(each)), _clean(each["text"]))
        for each in open_[:EPISODES]
    ]
    more = len(open_) - EPISODES
    return lines + [Text(f"{more} more open episodes", style="dim")] * (more > 0)


def _style(episode: dict[str, Any]) -> str:
    return "bold" if episode["severity"] == "info" else "bold yellow"


def _dead_letters(state: dict[str, Any]) -> list[Text]:
    dead_letters = state["dead_letters"]
    if not dead_letters["counted"]:
        return []
    counts = ", ".join(f"{each['count']:,} {each['reason']}" for each in dead_letters["reasons"])
    return [Text(f"newest dead letters, {dead_letters['counted']:,}: {counts}", style="yellow")]


def span(seconds: float | None) -> str:
    """Write a span of time.

    Examples
    --------
    >>> span(90), span(3 * 86_400), span(0.5), span(None)
    ('1.5 min', '3 d', '0.5 s', '')
    """
    if seconds is None:
        return ""
    size, unit = next(((size, unit) for size, unit in SPANS if abs(seconds) >= size), SPANS[-1])
    return f"{seconds / size:.3g} {unit}"


def _whole(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _clean(text: str) -> str:
    return harmless(text)
