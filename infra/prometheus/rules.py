"""The rules of this folder as data, for the reference page and for tests: Prometheus itself reads the files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent
PAGES: Final = "docs/operations/runbooks"
_RULE: Final = re.compile(r"^ +- (record|alert): (\S+)\n(.*?)(?=^ +- |^\S|\Z)", re.MULTILINE | re.DOTALL)
_EXPR: Final = re.compile(r"^( +)expr: (?:>-)?(.*\n(?:\1 +.*\n)*)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes
    ----------
    name
        As `level:metric:operation` what is recorded; the alert's name.
    expr
        PromQL. An alert's is a value compared with a number.
    waits, keeps
        How long it must hold before the alert fires, and how long it fires beyond its end, such as `5m`; empty:
        at once.
    severity, summary, page
        Of an alert: `critical`, `warning` or `info`; what it says; the page that says what to do.
    """

    name: str
    expr: str
    alert: bool
    waits: str = ""
    keeps: str = ""
    severity: str = ""
    summary: str = ""
    page: str = ""

    @property
    def value(self) -> str:
        """What the expression is about: of an alert, the side left of its comparison."""
        return self.expr.rsplit(" ", 2)[0] if self.alert else self.expr


def rules(*files: str) -> list[Rule]:
    """Read rules.

    Examples
    --------
    >>> down = rules("alerts.yml")[0]
    >>> down.name, down.expr, down.value, down.waits, down.severity
    ('RiverloopWorkerDown', 'up{job="riverloop"} == 0', 'up{job="riverloop"}', '1m', 'critical')
    """
    found = []
    for file in files:
        for kind, name, body in _RULE.findall((FOLDER / file).read_text("utf-8")):
            expr = _EXPR.search(body)
            if expr is None:
                raise ValueError(f"{file}: {name} has no expression")
            found.append(
                Rule(
                    name,
                    " ".join(expr[2].split()),
                    kind == "alert",
                    _field(body, r"for: (\S+)"),
                    _field(body, r"keep_firing_for: (\S+)"),
                    _field(body, r"severity: (\w+)"),
                    _field(body, r'summary: "(.*)"'),
                    _field(body, r"runbook_url: (\S+)"),
                )
            )
    return found


def published(file: str, runbook_base: str) -> str:
    """Return a file of rules with the pages' URLs in place of their paths.

    Parameters
    ----------
    runbook_base
        URL under which the pages lie; empty: the paths stay.

    Examples
    --------
    >>> text = published("alerts.yml", "https://wiki.example.com/runbooks/")
    >>> next(line.strip() for line in text.splitlines() if "no-owner" in line)
    'runbook_url: https://wiki.example.com/runbooks/no-owner.md'
    """
    text = (FOLDER / file).read_text("utf-8")
    base = runbook_base.rstrip("/")
    return text.replace(f"runbook_url: {PAGES}/", f"runbook_url: {base}/") if base else text


def _field(body: str, pattern: str) -> str:
    found = re.search(rf"\b(?<!_){pattern}", body)
    return found[1] if found else ""
