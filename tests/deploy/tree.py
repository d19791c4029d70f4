"""The files under test, in the repository or in a broken copy of them, and the commands that judge them."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
TARGET = REPOSITORY / "target"
TOOLS = TARGET / "deploy-venv/bin"
# What the checks read, and so what a copy must have.
PARTS = ["deploy", "rules", "grafana", "src", "benches", "Cargo.toml", "Cargo.lock"]
# Each way to deploy, and its config.
CONFIGS = {"compose": "deploy/compose/solvegate/solvegate.yaml", "systemd": "deploy/systemd/solvegate.yaml",
           "kubernetes": "deploy/kubernetes/sidecar.yaml"}
FILE = re.compile(r"\$\{file:([^}]+)\}")


def binary():
    """SOLVEGATE_BIN, else the release build, else the debug build."""
    given = os.environ.get("SOLVEGATE_BIN")
    built = Path(os.environ.get("CARGO_TARGET_DIR", TARGET))
    candidates = [Path(given)] if given else [built / "release/solvegate", built / "debug/solvegate"]
    for candidate in candidates:
        if candidate.exists():
            return str(candidate.resolve())
    sys.exit(f"no solvegate binary: {', '.join(map(str, candidates))}")


def copy(folder):
    """A copy of what the checks read, to be broken."""
    for part in PARTS:
        source = REPOSITORY / part
        put = shutil.copytree if source.is_dir() else shutil.copy
        put(source, folder / part)
    return folder


def run(*command, **options):
    """The exit code and everything that was said."""
    done = subprocess.run(list(map(str, command)), stdin=None if "input" in options else subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, **options)
    return done.returncode, done.stdout


def faults(*command, silent=False, **options):
    """What a command complains about; with `silent` every word is a complaint."""
    code, said = run(*command, **options)
    wrong = code != 0 or (silent and said.strip())
    return [f"{Path(str(command[0])).name}: exit code {code}: {said.strip()[-2000:]}"] if wrong else []


def load(path):
    return yaml.safe_load(path.read_text())


def documents(path):
    return [each for each in yaml.safe_load_all(path.read_text()) if each]


def of_kind(root, kind):
    """The one object of that kind among the manifests."""
    found = [each for name in ("sidecar", "monitoring") for each in documents(root / f"deploy/kubernetes/{name}.yaml")
             if each["kind"] == kind]
    assert len(found) == 1, f"{len(found)} objects of kind {kind}"
    return found[0]


def config_text(root, way):
    if way == "kubernetes":
        return of_kind(root, "ConfigMap")["data"]["solvegate.yaml"]
    return (root / CONFIGS[way]).read_text()


def unit(root):
    """Each key of the systemd unit with all of its values, in order."""
    keys = {}
    for line in (root / "deploy/systemd/solvegate.service").read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, value = line.split("=", 1)
            keys.setdefault(key, []).append(value)
    return keys


def sidecar(root):
    """The container of Solvegate in the pod."""
    pod = of_kind(root, "StatefulSet")["spec"]["template"]["spec"]
    return next((each for each in pod.get("initContainers", []) if each["name"] == "solvegate"), None)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def usable(text, folder):
    """The config with its secrets in `folder`, since the places it names exist only where it is deployed."""

    def put(match):
        name = Path(match[1]).name
        secret = folder / name
        # 32 letters and digits that no other secret has.
        secret.write_text(name.replace("_", "").ljust(32, "0")[:32] + "\n")
        return f"${{file:{secret}}}"

    path = folder / "solvegate.yaml"
    path.write_text(FILE.sub(put, text))
    return path
