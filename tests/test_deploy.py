"""The files in deploy/ fit the service: its settings, ports and commands, and the time it takes to stop."""

import configparser
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import crossplane
import kubernetes_validate
import pytest
import typer.main
import yaml

from progress_service.cli import commands
from progress_service.server import CLOSE_SECONDS_MAX, STOP_SECONDS_MAX
from progress_service.settings import Settings
from progress_service.settings.fields import variable

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
SETTINGS = {variable(name) for name in Settings.model_fields}
# What the files themselves let one choose, beside our settings.
OWN_NAMES = {"PROGRESS_UPSTREAM"}
PROBES = {"readiness": "/readyz", "liveness": "/healthz"}
DRAIN_SECONDS = Settings.model_fields["drain_seconds"].default


def text(name: str) -> str:
    """A file of deploy/."""
    return (DEPLOY / name).read_text(encoding="utf-8")


def documents(name: str) -> list[Any]:
    """What a file of YAML has."""
    return [*yaml.safe_load_all(text(name))]


COMPOSE = documents("compose.yaml")[0]
DEPLOYMENT, SERVICE, BUDGET = documents("kubernetes.yaml")
(CONTAINER,) = DEPLOYMENT["spec"]["template"]["spec"]["containers"]
RELAY_DEPLOYMENT, RELAY_BUDGET = documents("kubernetes-relay.yaml")
(RELAY_CONTAINER,) = RELAY_DEPLOYMENT["spec"]["template"]["spec"]["containers"]
DOCKERFILE = text("Dockerfile")
IMAGE = dict(re.findall(r"(PROGRESS_\w+)=(\S+)", DOCKERFILE))


def seconds_to_stop(drain_seconds: float) -> float:
    """How long a service may take to end after SIGTERM."""
    return drain_seconds + CLOSE_SECONDS_MAX + STOP_SECONDS_MAX


@pytest.mark.parametrize(
    "path", [path for path in DEPLOY.rglob("*") if path.is_file()], ids=lambda path: path.name
)
def test_every_setting_that_is_named_is_there(path: Path) -> None:
    """The service does not start with a name that it does not know, and a deployment finds that out last."""
    named = set(re.findall(r"\bPROGRESS_[A-Z_]+\b", path.read_text(encoding="utf-8")))
    assert named <= SETTINGS | OWN_NAMES


def arguments(command: list[str]) -> Iterator[str]:
    """See that `progress-service` takes a command line; its parts, for what else there is to see."""
    app = typer.main.get_command(commands)
    with app.make_context("progress-service", [*command], resilient_parsing=True) as context:
        name, sub, rest = app.resolve_command(context, [*command])  # type: ignore[attr-defined]
        assert sub is not None, command
        sub.make_context(name, rest, parent=context)
    yield from command


def test_every_command_is_one_that_the_service_has() -> None:
    """An option that was renamed would only be noticed at the next deployment."""
    entry = re.search(r"^ENTRYPOINT (.*)$", DOCKERFILE, re.MULTILINE)
    default = re.search(r"^CMD (.*)$", DOCKERFILE, re.MULTILINE)
    assert entry is not None
    assert default is not None
    assert yaml.safe_load(entry[1]) == ["progress-service"]
    assert [*arguments(yaml.safe_load(default[1]))] == ["serve"]
    assert [*arguments(CONTAINER["args"])] == ["serve"]
    assert [*arguments(RELAY_CONTAINER["args"])] == ["relay"]
    assert [*arguments(COMPOSE["services"]["relay"]["command"])] == ["relay"]
    assert [*arguments(COMPOSE["services"]["schema"]["command"])] == ["schema", "--apply"]
    start = shlex.split(unit()["Service"]["ExecStart"])
    assert Path(start[0]).name == "progress-service"
    assert next(arguments(start[1:])) == "serve"
    start = shlex.split(unit("progress-relay")["Service"]["ExecStart"])
    assert [*arguments(start[1:])] == ["relay"]
    web = re.search(r"^web: progress-service (.*)$", (ROOT / "Procfile").read_text(), re.MULTILINE)
    assert web is not None
    assert next(arguments(shlex.split(web[1].replace("$PORT", "8080")))) == "serve"


def unit(name: str = "progress-service") -> configparser.ConfigParser:
    """A unit for systemd, whose form is that of an INI file, but that a name may come twice."""
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text(f"systemd/{name}.service"))
    return parser


def test_everybody_waits_until_the_service_has_said_goodbye() -> None:
    """Whoever kills it before cuts streams that would have been told when to come back."""
    assert float(unit()["Service"]["TimeoutStopSec"]) >= seconds_to_stop(DRAIN_SECONDS)
    grace = COMPOSE["services"]["progress"]["stop_grace_period"]
    assert float(grace.removesuffix("s")) >= seconds_to_stop(DRAIN_SECONDS)
    pod = DEPLOYMENT["spec"]["template"]["spec"]
    named = {each["name"]: each["value"] for each in CONTAINER["env"]}
    pause = CONTAINER["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain = float(named["PROGRESS_DRAIN_SECONDS"])
    assert pod["terminationGracePeriodSeconds"] >= pause + seconds_to_stop(drain)
    # Until it is known that the instance goes, it has to take whom it is sent.
    assert pause > CONTAINER["readinessProbe"]["periodSeconds"]


def test_the_ports_agree() -> None:
    """A probe, a proxy or a scrape at another port finds nobody."""
    port, metrics = IMAGE["PROGRESS_PORT"], IMAGE["PROGRESS_METRICS_PORT"]
    assert re.search(r"^EXPOSE (.*)$", DOCKERFILE, re.MULTILINE)[1].split() == [port, metrics]  # type: ignore[index]
    assert f"http://127.0.0.1:{port}/healthz" in DOCKERFILE
    ports = {each["name"]: str(each["containerPort"]) for each in CONTAINER["ports"]}
    assert ports == {"http": port, "metrics": metrics}
    annotations = DEPLOYMENT["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == metrics
    assert SERVICE["spec"]["ports"][0]["targetPort"] == "http"
    assert COMPOSE["services"]["caddy"]["environment"]["PROGRESS_UPSTREAM"] == f"progress:{port}"
    services, relays = documents("prometheus/prometheus.yml")[0]["scrape_configs"]
    assert services["static_configs"][0]["targets"] == [f"progress:{metrics}"]
    (found,) = relays["dns_sd_configs"]
    assert found["names"] == ["relay"]
    assert found["names"][0] in COMPOSE["services"]
    assert str(found["port"]) == metrics
    assert f"PROGRESS_METRICS_PORT={metrics}" in unit()["Service"]["Environment"]
    assert f"{{$PROGRESS_UPSTREAM:127.0.0.1:{Settings.model_fields['port'].default}}}" in text("Caddyfile")


def test_a_relay_is_asked_where_it_answers() -> None:
    """It has one port, and its probes are there; the image's own check would ask for the service's."""
    metrics = IMAGE["PROGRESS_METRICS_PORT"]
    assert {each["name"]: str(each["containerPort"]) for each in RELAY_CONTAINER["ports"]} == {
        "metrics": metrics
    }
    asked = {path: RELAY_CONTAINER[f"{probe}Probe"]["httpGet"] for probe, path in PROBES.items()}
    assert asked == {path: {"path": path, "port": "metrics"} for path in PROBES.values()}
    annotations = RELAY_DEPLOYMENT["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == metrics
    relay = COMPOSE["services"]["relay"]
    assert f"http://127.0.0.1:{metrics}/readyz" in relay["healthcheck"]["test"][-1]
    # A relay that were an edge as well would not start.
    assert relay["environment"]["PROGRESS_FEED"] == "auto"
    assert relay["profiles"] == COMPOSE["services"]["nats"]["profiles"]


def test_the_image_is_built_in_two_stages_and_runs_as_nobody() -> None:
    """A compiler, a cache or root in what faces the network is a gift to whoever gets in."""
    stages = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]
    assert len(stages) == 2
    assert "--require-hashes" in stages[0]
    assert "RUN" not in stages[1]
    (user,) = re.findall(r"^USER (\d+):(\d+)$", stages[1], re.MULTILINE)
    assert "0" not in user
    copied = set(re.findall(r"^COPY (?!--from)(.*) \S+$", stages[0], re.MULTILINE))
    names = {name for line in copied for name in line.split()}
    assert all((ROOT / name).exists() for name in names)
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert names == {line.removeprefix("!") for line in ignored if line.startswith("!")}


def test_what_is_copied_into_the_image_is_all_that_it_takes(tmp_path: Path) -> None:
    """A file that is missing there is found when the image is built, or worse, when it runs."""
    for line in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE):
        for name in line.split():
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, tmp_path)
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel"], cwd=tmp_path, check=True)
    (wheel,) = tmp_path.glob("dist/*.whl")
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
    assert {
        "progress_service/schema.sql",
        "progress_service/upgrade.sql",
        "progress_service/client/small/element.js",
    } <= names
    assert "progress_service/api/metrics.py" in names


def test_containers_are_read_only_and_may_do_nothing_special() -> None:
    """The service writes no file and needs no right, so it should have none."""
    for name in ("schema", "progress", "relay"):
        service = COMPOSE["services"][name]
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
    for deployment, container in ((DEPLOYMENT, CONTAINER), (RELAY_DEPLOYMENT, RELAY_CONTAINER)):
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"]
        assert not context["allowPrivilegeEscalation"]
        assert deployment["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"]


def test_kubernetes_takes_its_files() -> None:
    """A field in the wrong place is dropped in silence by a cluster that is not strict."""
    for document in (DEPLOYMENT, SERVICE, BUDGET, RELAY_DEPLOYMENT, RELAY_BUDGET):
        kubernetes_validate.validate(document, "1.31", strict=True)
    for deployment, budget in ((DEPLOYMENT, BUDGET), (RELAY_DEPLOYMENT, RELAY_BUDGET)):
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        for selector in (deployment["spec"]["selector"], budget["spec"]["selector"]):
            assert selector["matchLabels"].items() <= labels.items()
        assert budget["spec"]["minAvailable"] < deployment["spec"]["replicas"]
        assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert SERVICE["spec"]["selector"].items() <= DEPLOYMENT["spec"]["template"]["metadata"]["labels"].items()


def test_the_parts_of_the_composition_are_there() -> None:
    """A file that is mounted and missing becomes an empty folder."""
    for name, service in COMPOSE["services"].items():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).is_file(), (name, source)
            else:
                assert source in COMPOSE["volumes"], (name, source)
        needed = service.get("depends_on", ())
        assert set(needed) <= COMPOSE["services"].keys()
    build = COMPOSE["services"]["progress"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).is_file()


def test_nginx_takes_its_file_and_holds_no_event_back() -> None:
    """It buffers, logs the query and speaks HTTP/1.0 to us unless it is told otherwise."""
    parsed = crossplane.parse(str(DEPLOY / "nginx.conf"), strict=True)
    assert parsed["status"] == "ok", parsed["errors"]
    (http,) = [part for part in parsed["config"][0]["parsed"] if part["directive"] == "http"]
    (secure,) = [
        part
        for part in blocks(http, "server")
        if any("ssl" in each["args"] for each in blocks(part, "listen"))
    ]
    assert "http2" in blocks(secure, "listen")[0]["args"]
    (location,) = blocks(secure, "location")
    said = {each["directive"]: each["args"] for each in location["block"]}
    assert said["proxy_buffering"] == ["off"]
    assert said["proxy_http_version"] == ["1.1"]
    read_seconds = float(said["proxy_read_timeout"][0].removesuffix("s"))
    assert read_seconds > 2 * Settings.model_fields["heartbeat_seconds"].default
    headers = {each["args"][0]: each["args"][1] for each in blocks(location, "proxy_set_header")}
    assert headers["Host"] == "$host"
    assert headers["Connection"] == ""
    assert headers["X-Forwarded-For"] == "$remote_addr"
    (form,) = blocks(http, "log_format")
    assert "$request_uri" not in (logged := "".join(form["args"]))
    assert re.search(r"\$(request|args|query_string)\b", logged) is None
    # A stream is a connection to the browser and one to us.
    files = next(
        int(part["args"][0])
        for part in parsed["config"][0]["parsed"]
        if part["directive"] == "worker_rlimit_nofile"
    )
    events = next(part for part in parsed["config"][0]["parsed"] if part["directive"] == "events")
    assert files >= 2 * int(blocks(events, "worker_connections")[0]["args"][0])


def blocks(parent: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The directives of that name in a block."""
    return [each for each in parent["block"] if each["directive"] == name]
