# SPDX-License-Identifier: MIT
"""What packaging/ says must be what the program takes: settings, commands, libraries, time to stop."""

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PACKAGING = ROOT / "packaging"
STENO = os.environ.get("STENO_BIN", str(ROOT / "build" / "steno"))
KUBERNETES = sorted((PACKAGING / "kubernetes").glob("*.yaml"))
COMPOSE = PACKAGING / "docker" / "compose.yaml"


def names(path):
    return {line.split("#")[0].strip() for line in path.read_text().splitlines()} - {""}


def expanded(text):
    """`${NAME:-default}` as the default, from the inside out."""
    while True:
        simpler = re.sub(r"\$\{\w+:-([^{}]*)\}", r"\1", text)
        if simpler == text:
            return text
        text = simpler


def check_settings(settings, tmp_path):
    env = {k: v for k, v in os.environ.items() if not k.startswith("STENO_")} | settings | {"STENO_DATA": str(tmp_path)}
    run = subprocess.run([STENO, "config", "check"], env=env, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert run.returncode == 0, run.stderr


def commands():
    text = subprocess.run([STENO, "--help"], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"^  (\w+)", text, re.MULTILINE))


def drain_timeout():
    text = subprocess.run([STENO, "config", "sample"], capture_output=True, text=True, check=True).stdout
    return int(re.search(r"drain_timeout = (\d+)s", text).group(1))


def test_every_linked_library_is_listed():
    linked = subprocess.run(["ldd", STENO], capture_output=True, text=True, check=True).stdout
    direct = re.findall(r"NEEDED.*\[(.+)\]", subprocess.run(["readelf", "-d", STENO], capture_output=True, text=True,
                                                           check=True).stdout)
    wanted = set()
    for name in direct:
        path = os.path.realpath(re.search(rf"{re.escape(name)} => (\S+)", linked).group(1))
        owner = subprocess.run(["dpkg", "-S", path], capture_output=True, text=True, check=False)
        if owner.returncode:  # /lib is a link to /usr/lib; the package may know either
            owner = subprocess.run(["dpkg", "-S", path.removeprefix("/usr")], capture_output=True, text=True, check=True)
        wanted.add(owner.stdout.split(":")[0])
    # Every Debian has the C library; the sanitizers' are only in test builds.
    wanted -= {"libc6", "libgcc-s1", "libasan8", "libubsan1", "libstdc++6"}
    assert wanted <= names(PACKAGING / "apt-libs.txt")
    assert names(PACKAGING / "apt-libs.txt") <= wanted, "listed, but not linked"


def test_image_takes_its_packages_from_the_lists():
    text = (PACKAGING / "docker" / "Dockerfile").read_text()
    for name in re.findall(r"apt-\w+\.txt", text):
        assert (PACKAGING / name).exists()
    assert {"apt-build.txt", "apt-libs.txt", "apt-run.txt"} <= set(re.findall(r"apt-\w+\.txt", text))


def test_compose(tmp_path):
    compose = yaml.safe_load(expanded(COMPOSE.read_text()))
    services = compose["services"]
    assert {"api", "worker", "postgres", "redis", "rabbitmq", "minio"} <= set(services)
    assert services["rabbitmq"]["profiles"] == ["rabbitmq"]
    for role in ("api", "worker"):
        service = services[role]
        assert service["command"] == [role] and role in commands()
        check_settings(service["environment"], tmp_path)
        for name in service["depends_on"]:
            assert name in services
    # A new volume belongs to root unless the image has the folder.
    made = re.search(r"install -d -o steno -g steno (.*)", (PACKAGING / "docker" / "Dockerfile").read_text())[1].split()
    assert {v.split(":")[1] for v in services["worker"]["volumes"]} <= set(made)
    for service in services.values():
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in compose["volumes"]
    assert int(services["worker"]["stop_grace_period"].removesuffix("s")) > drain_timeout()


@pytest.mark.skipif(not shutil.which("docker"), reason="docker is not installed")
def test_docker_understands_the_compose_file():
    probe = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("docker has no compose")
    subprocess.run(["docker", "compose", "-f", COMPOSE, "config", "-q"], check=True)


@pytest.mark.parametrize("unit", sorted((PACKAGING / "systemd").iterdir()), ids=lambda p: p.name)
def test_systemd_unit(unit, tmp_path):
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read(unit)
    service = parser["Service"]
    program, role = service["ExecStart"].split()
    assert program == "/usr/bin/steno" and role in commands()
    assert int(service["TimeoutStopSec"]) > drain_timeout()
    # A file of settings that a unit speaks of is one that it gives to the program.
    assert set(re.findall(r"/etc/steno/\S+", unit.read_text())) == {service["EnvironmentFile"].removeprefix("-")}
    name, value = service["Environment"].split("=", 1)
    assert name == "STENO_DATA" and value == "/var/lib/" + service["StateDirectory"]
    if shutil.which("systemd-analyze"):
        run = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False)
        complaints = [line for line in run.stderr.splitlines()
                      if unit.name in line and "is not executable" not in line and "steno" in line.split(":")[0]]
        assert complaints == []


def test_supervisord(tmp_path):
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(PACKAGING / "supervisord.conf")
    roles = {s.split("-")[1]: parser[s] for s in parser.sections()}
    assert set(roles) == {"api", "worker"}
    for role, section in roles.items():
        assert section["command"].split(";")[0].split()[:2] == ["steno", role]
        assert int(section["stopwaitsecs"]) > drain_timeout()


def test_prometheus(tmp_path):
    folder = PACKAGING / "prometheus"
    for args in (["rules", "alerts.yml"], ["config", "prometheus.yml"]):
        run = subprocess.run(["promtool", "check", *args], cwd=folder, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout + run.stderr
    # An alert on a figure that nobody gives out would never fire.
    known = set(re.findall(r"^\| `(\w+)`", subprocess.run([STENO, "__metrics"], capture_output=True, text=True, check=True).stdout, re.M))
    rules = yaml.safe_load((folder / "alerts.yml").read_text())["groups"][0]["rules"]
    operations = (ROOT / "docs" / "operations.md").read_text()
    asked = re.findall(r"\| `([^`]+)`", re.search(r"^\| question \| expression \|\n(.*?)\n\n", operations, re.M | re.S)[1])
    records = {"groups": [{"name": "asked", "rules": [{"record": f"asked:{i}", "expr": e} for i, e in enumerate(asked)]}]}
    (tmp_path / "asked.yml").write_text(yaml.safe_dump(records))
    run = subprocess.run(["promtool", "check", "rules", tmp_path / "asked.yml"], capture_output=True, text=True, check=False)
    assert asked and run.returncode == 0, run.stdout + run.stderr
    used = {name for e in asked + [rule["expr"] for rule in rules] for name in re.findall(r"\b(?:steno|process)_\w+", e)}
    assert used and {re.sub(r"_(sum|count|bucket)$", "", n) for n in used} <= known
    jobs = {j["job_name"] for j in yaml.safe_load((folder / "prometheus.yml").read_text())["scrape_configs"]}
    assert set(re.findall(r'job="([^"]+)"', str(rules))) <= jobs


def documents():
    return [d for path in KUBERNETES for d in yaml.safe_load_all(path.read_text())]


def test_kubernetes(tmp_path):
    found = {(d["kind"], d["metadata"]["name"]): d for d in documents()}
    settings = found["Secret", "steno"]["stringData"]
    for role in ("api", "worker"):
        pod = found["Deployment", f"steno-{role}"]["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert container["args"] == [role] and role in commands()
        own = {e["name"]: e["value"] for e in container.get("env", [])}
        check_settings(settings | own, tmp_path)
        assert pod["terminationGracePeriodSeconds"] > drain_timeout()
        volumes = {v["name"] for v in pod["volumes"]}
        assert {m["name"] for m in container["volumeMounts"]} == volumes
        for probe in ("readinessProbe", "livenessProbe"):  # /health may take two seconds, Kubernetes waits for one
            assert "httpGet" not in container.get(probe, {}) or container[probe]["timeoutSeconds"] > 2
    (api,) = found["Deployment", "steno-api"]["spec"]["template"]["spec"]["containers"]
    assert "httpGet" in api["readinessProbe"] and "tcpSocket" in api["livenessProbe"]
    # One that a single node holds would stop the second worker.
    assert found["PersistentVolumeClaim", "steno-models"]["spec"]["accessModes"] == ["ReadWriteMany"]
    selector = found["Service", "steno"]["spec"]["selector"]
    assert selector == found["Deployment", "steno-api"]["spec"]["template"]["metadata"]["labels"]
    scaled = found["ScaledObject", "steno-worker"]["spec"]
    assert ("Deployment", scaled["scaleTargetRef"]["name"]) in found
    (metric,) = re.findall(r"steno_\w+", scaled["triggers"][0]["metadata"]["query"])
    assert metric in (ROOT / "src" / "api" / "metrics.c").read_text() + (ROOT / "src" / "api" / "metrics.h").read_text()
