"""The rules of infra/prometheus, held against Debian's promtool."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from agents.cli.main import riverloop

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "infra" / "prometheus"
ALERTS = (FOLDER / "alerts.yml").read_text("utf-8")
CASES = (FOLDER / "alerts_test.yml").read_text("utf-8")
NAMES = re.findall(r"- alert: (\w+)", ALERTS)


def promtool(*arguments: str, given: bytes | None = None) -> str:
    done = subprocess.run(
        ["promtool", *arguments], input=given, cwd=FOLDER, capture_output=True, timeout=60, check=False
    )
    reported = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, reported
    return reported


@pytest.mark.system
def test_the_configuration_and_the_rules_are_ones_that_prometheus_takes() -> None:
    promtool("check", "config", "prometheus.yml")
    reported = promtool("check", "rules", "recording.yml", "alerts.yml")
    assert f"SUCCESS: {len(NAMES)} rules found" in reported


@pytest.mark.system
def test_alerts_fire_when_they_must_and_only_then() -> None:
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yml")


@pytest.mark.system
@pytest.mark.parametrize("name", NAMES)
def test_the_cases_notice_an_alert_that_never_fires_and_one_that_always_does(
    name: str, tmp_path: Path
) -> None:
    rule = re.search(rf"- alert: {name}\n +expr: (.*)\n", ALERTS)
    assert rule is not None
    head, *groups = CASES.split("\n  - name: ")
    own = [each for each in groups if f"alertname: {name}\n" in each]  # the others take their time
    (tmp_path / "alerts_test.yml").write_text("\n  - name: ".join([head, *own]), "utf-8")
    (tmp_path / "recording.yml").write_text((FOLDER / "recording.yml").read_text("utf-8"), "utf-8")
    for always in ("vector(1) < 0", f"({rule[1].rsplit(' ', 2)[0]}) > -1"):
        (tmp_path / "alerts.yml").write_text(ALERTS.replace(rule[1], always), "utf-8")
        with pytest.raises(AssertionError, match=name):
            promtool("test", "rules", str(tmp_path / "alerts_test.yml"))


@pytest.mark.system
def test_published_rules_link_to_pages_by_full_urls_and_are_taken(tmp_path: Path) -> None:
    base = "https://wiki.example.com/riverloop"
    done = CliRunner().invoke(riverloop, ["rules", str(tmp_path / "rules"), "--runbook-base", f"{base}/"])
    assert done.exit_code == 0, done.output
    text = (tmp_path / "rules" / "alerts.yml").read_text("utf-8")
    urls = re.findall(r"runbook_url: (\S+)", text)
    assert len(urls) == len(NAMES)
    for url in urls:
        assert url.startswith(f"{base}/")
        assert (ROOT / "docs/operations/runbooks" / url.removeprefix(f"{base}/")).is_file()
    reported = promtool(
        "check", "rules", *(str(tmp_path / "rules" / name) for name in ("recording.yml", "alerts.yml"))
    )
    assert f"SUCCESS: {len(NAMES)} rules found" in reported


def test_a_base_that_is_no_url_is_rejected(tmp_path: Path) -> None:
    done = CliRunner().invoke(riverloop, ["rules", str(tmp_path), "--runbook-base", "wiki\n  - evil"])
    assert done.exit_code != 0
    assert not list(tmp_path.iterdir())


def test_every_alert_has_a_severity_and_a_page_that_exists() -> None:
    rules = ALERTS.split("- alert: ")[1:]
    pages = {}
    for rule in rules:
        name = rule.split("\n")[0]
        assert re.search(r"severity: (critical|warning|info)\b", rule), name
        found = re.search(r"runbook_url: (\S+)", rule)
        assert found is not None, name
        pages[found[1]] = name
        text = (ROOT / found[1]).read_text("utf-8")
        assert text.startswith(f"# {name}\n")
        assert "```sh\n" in text, f"{name}: its page has no command"
    there = {str(page.relative_to(ROOT)) for page in (ROOT / "docs/operations/runbooks").glob("*.md")}
    assert pages.keys() == there


def test_drift_is_held_back_while_outcomes_are_out() -> None:
    rule = (FOLDER / "alertmanager.yml").read_text("utf-8").split("- source_matchers: ")[1]
    assert '"RiverloopLabelOutage"' in rule.split("target_matchers")[0]
    assert "RiverloopLossEpisode|RiverloopDriftEpisode" in rule
    assert "equal: [task]" in rule
    assert {"RiverloopLabelOutage", "RiverloopLossEpisode", "RiverloopDriftEpisode"} <= set(NAMES)
