"""The rules as data are those of the files; a server of ours has the configuration that is shipped."""

from __future__ import annotations

import re

from infra.prometheus.rules import rules
from infra.prometheus.server import FOLDER, configuration


def test_every_rule_of_the_files_is_read_with_its_expression() -> None:
    for file in ("recording.yml", "alerts.yml"):
        text = (FOLDER / file).read_text("utf-8")
        found = rules(file)
        assert [each.name for each in found] == re.findall(r"- (?:record|alert): (\S+)", text)
        for each in found:
            assert each.expr.count("(") == each.expr.count(")")
            assert each.expr.count("{") == each.expr.count("}")
            assert each.expr
            assert "\n" not in each.expr
            # All of it, a folded one's last line, too.
            assert each.expr[-12:] in text


def test_an_alert_is_a_value_compared_with_a_number() -> None:
    for each in rules("alerts.yml"):
        operator, number = each.expr.removeprefix(each.value).split()
        assert operator in {">", "<", "==", ">=", "<="}
        assert float(number) >= 0
        assert each.severity in {"critical", "warning", "info"}
        assert each.summary
        assert each.page.startswith("docs/operations/runbooks/")


def test_a_server_of_ours_differs_from_the_shipped_configuration_in_place_and_pace_alone() -> None:
    shipped = (FOLDER / "prometheus.yml").read_text("utf-8")
    ours = configuration(["127.0.0.1:8080"], 15)
    shipped = re.sub(r"alerting:\n(?: .*\n)+", "", shipped)
    assert ours.replace(f'"{FOLDER}/', "").replace('.yml"', ".yml") == shipped


def test_a_target_is_data_whatever_it_looks_like() -> None:
    text = configuration([r"host\1:80", 'a"b:1'], 1)
    assert r'- targets: ["host\\1:80", "a\"b:1"]' in text
