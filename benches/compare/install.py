"""Installs what the comparison needs, and says which versions it has."""
import os
import pathlib
import re
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILT = ROOT / "target/compare"


def programs(wanted):
    """Installs the Debian packages of programs that are missing."""
    missing = [program for program in wanted if not shutil.which(program)]
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        sys.exit(f"missing: {' '.join(missing)}")
    packages = ["nginx-light" if program == "nginx" else program for program in missing]
    quiet = dict(env=dict(os.environ, DEBIAN_FRONTEND="noninteractive"), stdout=subprocess.DEVNULL)
    subprocess.run(["apt-get", "update", "-qq"], check=True, timeout=300, **quiet)
    subprocess.run(["apt-get", "install", "-y", "-qq", *packages], check=True, timeout=600, **quiet)


def envoy():
    """Installs the Python package that carries Envoy's binary; returns why not when that fails."""
    pinned, done = HERE / "requirements.txt", BUILT / "venv/installed"
    if done.exists() and done.read_text() == pinned.read_text():
        return None
    for command in [
        [sys.executable, "-m", "venv", "--clear", str(BUILT / "venv")],
        [str(BUILT / "venv/bin/pip"), "install", "--quiet", "--requirement", str(pinned)],
    ]:
        result = subprocess.run(command, capture_output=True, text=True, timeout=600)
        if result.returncode:
            return (result.stderr or result.stdout).strip()
    done.write_text(pinned.read_text())
    return None


def envoy_program():
    """The binary itself, without the script that starts it."""
    found = next((BUILT / "venv").glob("lib/python*/site-packages/envoy/_bin/envoy"), None)
    return str(found or sys.exit("the package of Envoy has no binary where it used to be"))


def load():
    """Builds the open-loop load when its source is newer; returns the program."""
    source, program = HERE / "load.rs", BUILT / "load"
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        BUILT.mkdir(parents=True, exist_ok=True)
        subprocess.run(["rustc", "--edition", "2024", "-O", "-o", str(program), str(source)], check=True, timeout=300)
    return str(program)


def versions(names, binary):
    """What the programs of the named peers say they are."""
    ask = {
        "nginx": lambda: ["nginx", "-v"],
        "haproxy": lambda: ["haproxy", "-v"],
        "envoy": lambda: [envoy_program(), "--version"],
        "solvegate": lambda: [binary, "--version"],
    }
    programs = {name.split("-")[0]: None for name in names}
    return ", ".join(f"{program} {version(ask[program]())}" for program in programs if program in ask)


def version(command):
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    return re.search(r"\d+\.\d+\.\d+", result.stdout + result.stderr)[0]


def revision():
    git = ["git", "-C", str(ROOT)]
    commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    changed = subprocess.run([*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True).stdout
    return commit + ("+changes" if changed.strip() else "")
