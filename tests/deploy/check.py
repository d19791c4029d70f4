"""Checks deploy/: the files against schemas and the tools they are for, against each other, and against the binary.

Each check is also run on a copy of the files that was broken for it (breakages.py), and must notice.
Arguments are names of checks; without any, all are run.
"""

import json
import os
import re
import shutil
import stat
import sys
import tempfile
from pathlib import Path

from breakages import BREAKAGES
from live import allowed_calls, live, system_calls, until
from tree import (CONFIGS, FILE, REPOSITORY, TARGET, TOOLS, binary, config_text, copy, documents, faults, load, of_kind, run,
                  sidecar, unit, usable)

CHECKS = []
# systemd's measure of what a unit could still do, in tenths.
EXPOSURE_MAX = 13
KUBERNETES = ["1.33.0", "1.37.0"]


def check(function):
    CHECKS.append(function)
    return function


@check
def the_unit_is_one_that_systemd_knows(root, folder):
    text = (root / "deploy/systemd/solvegate.service").read_text()
    (folder / "solvegate.service").write_text(text.replace("/usr/local/bin/solvegate", binary()))
    return faults("systemd-analyze", "verify", "--man=no", folder / "solvegate.service", silent=True)


@check
def the_unit_is_hardened(root, folder):
    return faults("systemd-analyze", "security", "--no-pager", "--offline=true", f"--threshold={EXPOSURE_MAX}",
                  root / "deploy/systemd/solvegate.service")


@check
def the_unit_allows_the_system_calls_of_the_binary(root, folder):
    used = system_calls(root, folder)
    assert len(used) > 30, f"saw only {sorted(used)}"
    return [f"{name} is not allowed" for name in sorted(used - allowed_calls(unit(root)["SystemCallFilter"]))]


@check
def the_unit_is_of_the_type_that_the_binary_serves(root, folder):
    kind = unit(root)["Type"]
    with live(root, folder) as process:
        process.work()
        ready = "READY=1" in process.said()
        process.end()
        stopping = "STOPPING=1" in process.said()
    if ready:
        return ([] if kind[0].startswith("notify") else [f"Type={kind[0]}, and the binary says READY=1"]) + (
            [] if stopping else ["it never says STOPPING=1"])
    return [] if kind == ["exec"] else [f"Type={kind[0]}, and the binary never says READY=1"]


@check
def the_health_check_of_the_image_tells_alive_from_dead(root, folder):
    text = (root / "deploy/docker/Dockerfile").read_text()
    found = re.search(r"^HEALTHCHECK.*?CMD (\[.*?\])$", text, re.M | re.S)
    if not found:
        return ["HEALTHCHECK is not in exec form, and the image has no shell"]
    command = json.loads(found[1])
    with live(root, folder) as process:
        until("/readyz", lambda: process.get("/readyz"))
        asked = [binary(), *(each.replace("http://127.0.0.1:9465", process.admin) for each in command[1:])]
        alive = run(*asked)
        process.end()
    dead = run(*asked)
    return ([f"alive: exit code {alive[0]}: {alive[1].strip()}"] if alive[0] != 0 else []) + (
        [] if dead[0] == 1 else [f"dead: exit code {dead[0]}"])


@check
def the_configs_are_ones_that_the_binary_takes(root, folder):
    wrong = []
    for way in CONFIGS:
        home = folder / way
        home.mkdir()
        path = usable(config_text(root, way), home)
        environment = {"UPSTREAM_URL": "https://provider.example"} if way == "compose" else {}
        code, said = run(binary(), "check", "--config", path, env=environment)
        if code != 0 or "warning:" in said:
            wrong.append(f"{way}: {said.strip()[-500:]}")
    return wrong


@check
def every_secret_of_a_config_is_brought_to_its_place(root, folder):
    compose = load(root / "deploy/compose/compose.yaml")
    pod = of_kind(root, "StatefulSet")["spec"]["template"]["spec"]
    mount = next(each["mountPath"] for each in sidecar(root)["volumeMounts"] if each["name"] == "config")
    sources = next(each for each in pod["volumes"] if each["name"] == "config")["projected"]["sources"]
    items = [item for source in sources for item in source.get("secret", {}).get("items", [])]
    names = [each.split(":")[0] for each in unit(root)["LoadCredential"]]
    brought = {
        "compose": {f"/run/secrets/{name}" for name in compose["services"]["solvegate"]["secrets"]},
        "systemd": {f"/run/credentials/solvegate.service/{name}" for name in names},
        # From the folder of the config.
        "kubernetes": {item["path"] for item in items},
    }
    wrong = [f"{way}: reads {sorted(read)}, is brought {sorted(brought[way])}"
             for way in CONFIGS if (read := set(FILE.findall(config_text(root, way)))) != brought[way]]
    if mount != "/etc/solvegate":
        wrong.append(f"kubernetes: the config is mounted at {mount}, the image reads /etc/solvegate/solvegate.yaml")
    return wrong


@check
def a_shutdown_has_the_time_it_takes(root, folder):
    compose = load(root / "deploy/compose/compose.yaml")["services"]["solvegate"]
    pod = of_kind(root, "StatefulSet")["spec"]["template"]["spec"]
    # The application's own time, 30 s by default, comes before the sidecar's.
    given = {"compose": int(compose["stop_grace_period"].removesuffix("s")),
             "systemd": int(unit(root)["TimeoutStopSec"][0].removesuffix("s")),
             "kubernetes": pod["terminationGracePeriodSeconds"] - 30}
    taken = {way: int(re.search(r"^shutdown_grace: (\d+)s$", config_text(root, way), re.M)[1]) for way in CONFIGS}
    return [f"{way}: {given[way]} s for {taken[way]} s" for way in CONFIGS if given[way] < taken[way] + 5]


@check
def state_is_where_a_volume_is(root, folder):
    compose = load(root / "deploy/compose/compose.yaml")["services"]["solvegate"]
    kept = {"compose": [each.split(":")[1] for each in compose["volumes"] if each.startswith("state:")],
            "systemd": [f"/var/lib/{each}" for each in unit(root)["StateDirectory"]],
            "kubernetes": [each["mountPath"] for each in sidecar(root)["volumeMounts"] if each["name"] == "state"]}
    path = {way: re.search(r"path: (\S+)/solvegate\.db", config_text(root, way))[1] for way in CONFIGS}
    return [f"{way}: {path[way]} is not in {kept[way]}" for way in CONFIGS if path[way] not in kept[way]]


@check
def the_dockerfile_passes_hadolint(root, folder):
    return faults(TOOLS / "hadolint", root / "deploy/docker/Dockerfile", silent=True)


@check
def the_image_is_what_it_says(root, folder):
    text = (root / "deploy/docker/Dockerfile").read_text()
    manifest = (root / "Cargo.toml").read_text()
    rust = re.search(r'rust-version = "([\d.]+)"', manifest)[1]
    version = re.search(r'^version = "([\d.]+)"', manifest, re.M)[1]
    stages = text.split("\nFROM ")
    last = stages[-1]
    wrong = [] if f"FROM rust:{rust}-" in text else [f"Cargo.toml needs Rust {rust}"]
    wrong += [] if re.search(r"^USER 65532:65532$", last, re.M) else ["the last stage does not run as 65532"]
    wrong += [] if re.search(r"^STOPSIGNAL SIGTERM$", last, re.M) else ["no STOPSIGNAL"]
    wrong += [] if re.search(r"^FROM \S*distroless/cc-debian12:nonroot$", text, re.M) else ["not distroless"]
    wrong += ["a shell form needs a shell"] * len(re.findall(r"^(?:ENTRYPOINT|CMD|RUN) (?!\[)", last, re.M))
    images = [load(root / "deploy/compose/compose.yaml")["services"][name]["image"] for name in ("solvegate", "provider")]
    for image in [*images, sidecar(root)["image"]]:
        wrong += [] if image == f"solvegate:{version}" else [f"{image} is not version {version}"]
    return wrong


@check
def the_build_context_is_a_package(root, folder):
    ignored = (root / "deploy/docker/Dockerfile.dockerignore").read_text().splitlines()
    if "*" not in ignored:
        return ["everything is in it"]
    context = folder / "context"
    context.mkdir()
    for name in (line[1:] for line in ignored if line.startswith("!")):
        put = shutil.copytree if (root / name).is_dir() else shutil.copy
        put(root / name, context / name)
    wrong = faults("cargo", "metadata", "--quiet", "--offline", "--no-deps", "--format-version", "1", cwd=context)
    for name in ("Cargo.lock", "src/main.rs"):
        wrong += [] if (context / name).exists() else [f"{name} is missing"]
    for source in (context / "src").rglob("*.rs"):
        for included in re.findall(r'include_(?:str|bytes)!\("([^"]+)"\)', source.read_text()):
            # Tests may include what the image is built without.
            is_test = "tests" in source.relative_to(context).with_suffix("").parts
            if not (source.parent / included).exists() and not is_test:
                wrong.append(f"{source.relative_to(context)} includes {included}")
    return wrong


@check
def the_compose_file_fits_its_schema(root, folder):
    return faults(TOOLS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec",
                  root / "deploy/compose/compose.yaml")


@check
def the_compose_file_holds_together(root, folder):
    home = root / "deploy/compose"
    compose = load(home / "compose.yaml")
    wrong = []
    for name, service in compose["services"].items():
        image = service["image"].rpartition(":")
        if not re.fullmatch(r"v?\d+\.\d+\.\d+", image[2]):
            wrong.append(f"{name}: {service['image']} is not pinned")
        if "healthcheck" not in service and "solvegate:" not in service["image"]:
            wrong.append(f"{name}: no health check")
        if service.get("cap_drop") != ["ALL"]:
            wrong.append(f"{name}: keeps capabilities")
        wrong += [f"{name}: {port} is open to all" for port in service.get("ports", []) if not port.startswith("127.0.0.1:")]
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            there = (home / source).exists() if source.startswith(".") else source in compose["volumes"]
            wrong += [] if there else [f"{name}: no {source}"]
        for secret in service.get("secrets", []):
            secret = secret if isinstance(secret, str) else secret["source"]
            wrong += [] if secret in compose["secrets"] else [f"{name}: no secret {secret}"]
        wrong += [f"{name}: no network {each}" for each in service["networks"] if each not in compose["networks"]]
    wrong += [f"volume {each} is not used" for each in compose["volumes"]
              if not any(volume.startswith(f"{each}:") for service in compose["services"].values()
                         for volume in service.get("volumes", []))]
    return wrong


@check
def the_addresses_of_the_compose_file_are_its_services(root, folder):
    home = root / "deploy/compose"
    services = load(home / "compose.yaml")["services"]
    prometheus, source = load(home / "prometheus.yml"), load(home / "grafana-datasource.yml")
    managers = prometheus["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"]
    jobs = {each["job_name"]: each["static_configs"][0]["targets"] for each in prometheus["scrape_configs"]}
    wrong = [] if managers == jobs["alertmanager"] == ["alertmanager:9093"] else [f"Alertmanager is not {managers}"]
    wrong += [] if jobs["solvegate"] == ["solvegate:9465"] else [f"Solvegate is not {jobs['solvegate']}"]
    wrong += [] if source["datasources"][0]["url"] == "http://prometheus:9090" else ["Grafana asks elsewhere"]
    pairs = [("prometheus", "solvegate"), ("prometheus", "alertmanager"), ("grafana", "prometheus"), ("solvegate", "provider")]
    for one, other in pairs:
        if not set(services[one]["networks"]) & set(services[other]["networks"]):
            wrong.append(f"{one} cannot reach {other}")
    token = next(each for each in prometheus["scrape_configs"] if each["job_name"] == "solvegate")["authorization"]
    if {"source": "admin_token", "target": token["credentials_file"]} not in services["prometheus"]["secrets"]:
        wrong.append("Prometheus has no token")
    return wrong


@check
def make_secrets_makes_what_the_compose_file_mounts(root, folder):
    script = root / "deploy/compose/make-secrets"
    key = "0123456789abcdef0123456789abcdef"
    wrong = faults(script, env={**os.environ, "CAPTCHAAI_KEY": key})
    secrets = root / "deploy/compose/secrets"
    named = {Path(each["file"]).name for each in load(root / "deploy/compose/compose.yaml")["secrets"].values()}
    made = {each.name: each.read_text() for each in secrets.iterdir()} if secrets.exists() else {}
    if made.keys() != named:
        return [*wrong, f"made {sorted(made)}, named {sorted(named)}"]
    wrong += [] if made["captchaai_key"] == f"{key}\n" else ["it does not keep CAPTCHAAI_KEY"]
    wrong += [f"{name} is open to be written" for name in named if stat.S_IMODE((secrets / name).stat().st_mode) != 0o444]
    wrong += [] if stat.S_IMODE(secrets.stat().st_mode) == 0o700 else ["the folder is open"]
    text = config_text(root, "compose").replace("/run/secrets", str(secrets)).replace("${UPSTREAM_URL}", "http://127.0.0.1:9")
    (folder / "solvegate.yaml").write_text(text)
    wrong += faults(binary(), "check", "--config", folder / "solvegate.yaml")
    wrong += faults(script, env={"PATH": os.environ["PATH"]})
    wrong += [f"a second run changes {name}" for name, value in made.items() if (secrets / name).read_text() != value]
    return wrong


@check
def the_generated_files_are_in_step(root, folder):
    return [fault for script in ("compose/generate-configs", "kubernetes/generate-rules")
            for fault in faults(root / "deploy" / script, "--check", silent=True)]


@check
def the_generated_rules_say_what_rules_say(root, folder):
    objects = documents(root / "deploy/kubernetes/prometheus-rules.yaml")
    sources = [load(path) for path in sorted((root / "rules").glob("*.yml"))]
    wrong = [] if [each["spec"] for each in objects] == sources else ["another content than rules/"]
    for each in objects:
        path = folder / f"{each['metadata']['name']}.yml"
        path.write_text(json.dumps(each["spec"]))
        wrong += faults("promtool", "check", "rules", path)
    return wrong


@check
def prometheus_and_alertmanager_take_their_configs(root, folder):
    # As the compose file mounts them.
    text = (root / "deploy/compose/prometheus.yml").read_text()
    (folder / "token").write_text("token")
    (folder / "prometheus.yml").write_text(text.replace("/etc/prometheus/solvegate-admin-token", f"{folder}/token"))
    (folder / "rules").symlink_to(root / "rules")
    return faults("promtool", "check", "config", folder / "prometheus.yml") + faults(
        "amtool", "check-config", root / "deploy/compose/alertmanager.yml")


@check
def the_manifests_fit_the_schemas_of_kubernetes(root, folder):
    return [fault for version in KUBERNETES
            for fault in faults(TOOLS / "kubernetes-validate", "--strict", "--kubernetes-version", version,
                                root / "deploy/kubernetes/sidecar.yaml")]


@check
def the_manifests_fit_the_types_of_the_operator(root, folder):
    objects = [each for name in ("monitoring", "prometheus-rules") for each in documents(root / f"deploy/kubernetes/{name}.yaml")]
    return faults("node", REPOSITORY / "tests/deploy/crds.js", TARGET / "deploy-node", silent=True, input=json.dumps(objects))


@check
def solvegate_is_a_native_sidecar(root, folder):
    container = sidecar(root)
    if container is None or container.get("restartPolicy") != "Always":
        return ["no init container `solvegate` that is always restarted"]
    probes = {"startupProbe": "/readyz", "readinessProbe": "/readyz", "livenessProbe": "/healthz"}
    wrong = [f"{probe} does not ask {path}" for probe, path in probes.items()
             if container.get(probe, {}).get("httpGet") != {"path": path, "port": "admin"}]
    expected = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
                "runAsUser": 65532, "runAsGroup": 65532}
    wrong += [] if container["securityContext"] == expected else ["it may do more than it must"]
    pod = of_kind(root, "StatefulSet")["spec"]["template"]["spec"]["securityContext"]
    wrong += [] if pod["runAsNonRoot"] and pod["seccompProfile"] == {"type": "RuntimeDefault"} else ["the pod may be root"]
    wrong += [] if pod["fsGroup"] == 65532 else ["it cannot write its volume"]
    return wrong


@check
def the_manifests_hold_together(root, folder):
    service, monitor, policy = (of_kind(root, kind) for kind in ("Service", "ServiceMonitor", "NetworkPolicy"))
    owner = of_kind(root, "StatefulSet")["spec"]
    template = owner["template"]
    container = sidecar(root)
    admin = [each["containerPort"] for each in container["ports"] if each["name"] == "admin"]
    config = config_text(root, "kubernetes")
    wrong = [] if re.search(rf"admin: {{ listen: 0\.0\.0\.0:{admin[0]},", config) else ["the config has another admin port"]
    labels = template["metadata"]["labels"]
    for name, selector in (("Service", service["spec"]["selector"]), ("StatefulSet", owner["selector"]["matchLabels"]),
                           ("NetworkPolicy", policy["spec"]["podSelector"]["matchLabels"])):
        wrong += [] if selector.items() <= labels.items() else [f"{name} selects no pod"]
    wrong += [] if owner["serviceName"] == service["metadata"]["name"] else ["no such serviceName"]
    wanted = monitor["spec"]["selector"]["matchLabels"]
    wrong += [] if wanted.items() <= service["metadata"]["labels"].items() else ["ServiceMonitor selects no Service"]
    ports = [each["name"] for each in service["spec"]["ports"] if each["targetPort"] == "admin" and each["port"] == admin[0]]
    wrong += [] if [each["port"] for each in monitor["spec"]["endpoints"]] == ports else ["ServiceMonitor asks no port"]
    wrong += [] if monitor["spec"]["jobLabel"] in service["metadata"]["labels"] else ["no such jobLabel"]
    volumes = {each["name"] for each in [*template["spec"]["volumes"], *(each["metadata"] for each in owner["volumeClaimTemplates"])]}
    wrong += [f"no volume {each['name']}" for each in container["volumeMounts"] if each["name"] not in volumes]
    sources = next(each for each in template["spec"]["volumes"] if each["name"] == "config")["projected"]["sources"]
    secret = next(each["secret"] for each in sources if "secret" in each)
    token = monitor["spec"]["endpoints"][0]["authorization"]["credentials"]
    if {"name": token["name"], "path": "secrets/admin_token"} != {
            "name": secret["name"], "path": next((each["path"] for each in secret["items"] if each["key"] == token["key"]), None)}:
        wrong.append("ServiceMonitor has another token")
    maps = [each["configMap"]["name"] for each in sources if "configMap" in each]
    wrong += [] if maps == [of_kind(root, "ConfigMap")["metadata"]["name"]] else ["no such ConfigMap"]
    return wrong


def outcome(function, root):
    """The faults a check finds; what it stumbles over is one too."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            return function(root, Path(folder))
        except Exception as error:
            return [f"{type(error).__name__}: {error}"]


def main():
    passed = failed = 0

    def report(name, wrong):
        nonlocal passed, failed
        passed, failed = passed + (not wrong), failed + bool(wrong)
        print(f"test {name} ... {'FAILED' if wrong else 'ok'}", *wrong, sep="\n  ", flush=True)

    for function in [each for each in CHECKS if not sys.argv[1:] or each.__name__ in sys.argv[1:]]:
        # On a copy too, since a check may write.
        with tempfile.TemporaryDirectory() as folder:
            report(function.__name__, outcome(function, copy(Path(folder))))
        breakages = BREAKAGES.get(function.__name__, [])
        if not breakages:
            report(f"{function.__name__}: can fail", ["no breakage for it in breakages.py"])
        for path, old, new in breakages:
            with tempfile.TemporaryDirectory() as folder:
                root = copy(Path(folder))
                text = (root / path).read_text()
                (root / path).write_text(text.replace(old, new, 1))
                wrong = [] if old in text else [f"{path} has no `{old}`"]
                found = outcome(function, root)
                report(f"{function.__name__}: notices `{new.strip()}` for `{old.strip()}`", wrong or ([] if found else ["it does not"]))
                if found and os.environ.get("SHOW_FAULTS"):
                    print("  ", found)
    print(f"test result: {'FAILED' if failed else 'ok'}. {passed} passed; {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
