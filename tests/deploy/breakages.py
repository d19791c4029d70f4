"""Ways to break deploy/, by the check that must notice: a file, a text in it, and what takes its place."""

UNIT = "deploy/systemd/solvegate.service"
CONFIG = "deploy/systemd/solvegate.yaml"
DOCKERFILE = "deploy/docker/Dockerfile"
IGNORE = "deploy/docker/Dockerfile.dockerignore"
COMPOSE = "deploy/compose/compose.yaml"
POD = "deploy/kubernetes/sidecar.yaml"
MONITOR = "deploy/kubernetes/monitoring.yaml"
RULES = "deploy/kubernetes/prometheus-rules.yaml"

BREAKAGES = {
    "the_unit_is_one_that_systemd_knows": [
        (UNIT, "PrivateTmp=yes", "PrivateTemp=yes"),
        (UNIT, "SystemCallFilter=@system-service", "SystemCallFilter=@system-services"),
    ],
    "the_unit_is_hardened": [
        (UNIT, "CapabilityBoundingSet=\n", ""),
        (UNIT, "SystemCallFilter=@system-service", "SystemCallFilter=@mount"),
    ],
    "the_unit_allows_the_system_calls_of_the_binary": [
        (UNIT, "SystemCallFilter=~@privileged @resources", "SystemCallFilter=~@network-io"),
        (UNIT, "SystemCallFilter=fchown", ""),
    ],
    "the_unit_is_of_the_type_that_the_binary_serves": [(UNIT, "Type=", "Type=forking\n#")],
    "the_health_check_of_the_image_tells_alive_from_dead": [
        (DOCKERFILE, '"healthcheck"', '"health"'),
        (DOCKERFILE, 'CMD ["/usr/local/bin/solvegate", "healthcheck"', 'CMD ["/usr/local/bin/solvegate", "--version"'),
        (DOCKERFILE, 'CMD ["/usr/local/bin/solvegate", "healthcheck", "--admin", "http://127.0.0.1:9465"]', "CMD true"),
    ],
    "the_configs_are_ones_that_the_binary_takes": [
        (CONFIG, "rate_per_minute: 120", "rate_per_minute: 0"),
        (POD, ', token: "${file:secrets/admin_token}"', ""),
        ("deploy/compose/solvegate/solvegate.yaml", "in_flight_max", "in_flight"),
    ],
    "every_secret_of_a_config_is_brought_to_its_place": [
        (UNIT, "LoadCredential=acme_key:/etc/solvegate/secrets/acme_key\n", ""),
        (COMPOSE, "secrets: [captchaai_key, admin_token, acme_key]", "secrets: [captchaai_key, admin_token]"),
        (POD, "path: secrets/app_key", "path: app_key"),
        (POD, "mountPath: /etc/solvegate", "mountPath: /etc/solve"),
    ],
    "a_shutdown_has_the_time_it_takes": [
        (COMPOSE, "stop_grace_period: 40s", "stop_grace_period: 10s"),
        (UNIT, "TimeoutStopSec=40s", "TimeoutStopSec=30s"),
        (POD, "terminationGracePeriodSeconds: 75", "terminationGracePeriodSeconds: 30"),
    ],
    "state_is_where_a_volume_is": [
        (COMPOSE, "- state:/var/lib/solvegate", "- state:/data"),
        (UNIT, "StateDirectory=solvegate", "StateDirectory=gate"),
        (POD, "mountPath: /var/lib/solvegate", "mountPath: /data"),
    ],
    "the_dockerfile_passes_hadolint": [
        (DOCKERFILE, "rust:1.95-slim-bookworm", "rust:latest"),
        (DOCKERFILE, "WORKDIR /src", "WORKDIR src"),
    ],
    "the_image_is_what_it_says": [
        (DOCKERFILE, "USER 65532:65532", "USER root"),
        (DOCKERFILE, "rust:1.95-", "rust:1.80-"),
        (DOCKERFILE, 'CMD ["run"]', "CMD run"),
        (DOCKERFILE, "STOPSIGNAL SIGTERM\n", ""),
        (POD, "image: solvegate:0.1.0", "image: solvegate:0.2.0"),
        ("Cargo.toml", 'version = "0.1.0"', 'version = "0.2.0"'),
    ],
    "the_build_context_is_a_package": [
        (IGNORE, "!src\n", ""),
        (IGNORE, "!Cargo.lock\n", ""),
        (IGNORE, "*\n", ""),
        ("src/main.rs", "//!", '// include_str!("../docs/config.md")\n//!'),
    ],
    "the_compose_file_fits_its_schema": [
        (COMPOSE, "cap_drop: [ALL]", "capdrop: [ALL]"),
        (COMPOSE, "stop_grace_period: 40s", "stop_grace_period: [40]"),
    ],
    "the_compose_file_holds_together": [
        (COMPOSE, "prom/prometheus:v3.5.0", "prom/prometheus:latest"),
        (COMPOSE, "'127.0.0.1:9090:9090'", "'9090:9090'"),
        (COMPOSE, "../../rules:", "../rules:"),
        (COMPOSE, "  alertmanager:\n  grafana:\n\n", "  grafana:\n\n"),
        (COMPOSE, "  acme_key: {file: ./secrets/acme_key}\n", ""),
        (COMPOSE, "networks: [clients, monitoring]", "networks: [clients, monitor]"),
        (COMPOSE, "cap_drop: [ALL]", "cap_drop: []"),
        (COMPOSE, "healthcheck:\n      test: [CMD, wget", "x-healthcheck:\n      test: [CMD, wget"),
    ],
    "the_addresses_of_the_compose_file_are_its_services": [
        ("deploy/compose/prometheus.yml", "alertmanager:9093", "127.0.0.1:9093"),
        ("deploy/compose/prometheus.yml", "solvegate:9465", "127.0.0.1:9465"),
        ("deploy/compose/grafana-datasource.yml", "prometheus:9090", "127.0.0.1:9090"),
        (COMPOSE, "networks: [clients, monitoring]", "networks: [clients]"),
        (COMPOSE, "target: /etc/prometheus/solvegate-admin-token", "target: /etc/prometheus/token"),
    ],
    "make_secrets_makes_what_the_compose_file_mounts": [
        ("deploy/compose/make-secrets", "acme_key grafana_password", "acme_key"),
        ("deploy/compose/make-secrets", "-N16", "-N8"),
        ("deploy/compose/make-secrets", "umask 0222", "umask 0022"),
        ("deploy/compose/make-secrets", "-m 0700", "-m 0755"),
        ("deploy/compose/make-secrets", '[ -e "secrets/$1" ] ||', "true &&"),
    ],
    "the_generated_files_are_in_step": [
        ("rules/money.yml", "for: 5m", "for: 6m"),
        ("rules/examples/alertmanager.yml", "repeat_interval: 12h", "repeat_interval: 6h"),
        ("grafana/provisioning/datasources/solvegate.yml", "timeInterval: 15s", "timeInterval: 30s"),
        (RULES, "for: 5m", "for: 6m"),
    ],
    "the_generated_rules_say_what_rules_say": [
        (RULES, "severity: warning", "severity: critical"),
        ("rules/process.yml", "severity: warning", "severity: critical"),
    ],
    "prometheus_and_alertmanager_take_their_configs": [
        ("deploy/compose/prometheus.yml", "rules/money.yml", "rules/moneys.yml"),
        ("deploy/compose/alertmanager.yml", "receiver: pager", "receiver: nobody-at-all"),
    ],
    "the_manifests_fit_the_schemas_of_kubernetes": [
        (POD, "terminationGracePeriodSeconds: 75", "terminationGracePeriod: 75"),
        (POD, "failureThreshold: 60", "failureThreshold: many"),
    ],
    "the_manifests_fit_the_types_of_the_operator": [
        (MONITOR, "jobLabel:", "joblabel:"),
        (MONITOR, "interval: 15s", "interval: 15"),
        (RULES, "    - name: solvegate-money", "    - title: solvegate-money"),
    ],
    "solvegate_is_a_native_sidecar": [
        (POD, "restartPolicy: Always", "restartPolicy: OnFailure"),
        (POD, "initContainers:", "containers_:"),
        (POD, "httpGet: {path: /healthz", "httpGet: {path: /metrics"),
        (POD, "capabilities: {drop: [ALL]}", "capabilities: {drop: [KILL]}"),
        (POD, "runAsNonRoot: true", "runAsNonRoot: false"),
        (POD, "fsGroup: 65532", "fsGroup: 1000"),
    ],
    "the_manifests_hold_together": [
        (POD, "containerPort: 9465", "containerPort: 9466"),
        (POD, "selector: {app.kubernetes.io/name: your-app}", "selector: {app.kubernetes.io/name: solvegate}"),
        (POD, "serviceName: solvegate", "serviceName: your-app"),
        (POD, "targetPort: admin", "targetPort: http"),
        (POD, "mountPath: /var/lib/solvegate}", "mountPath: /var/lib/solvegate}\n            - {name: cache, mountPath: /c}"),
        (POD, "- configMap: {name: solvegate}", "- configMap: {name: gate}"),
        (MONITOR, "key: admin_token", "key: app_key"),
        (MONITOR, "jobLabel: app.kubernetes.io/name", "jobLabel: name"),
    ],
}
