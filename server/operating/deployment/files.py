"""The files of a deployment: made of a plan, and written whole or not at all."""

from __future__ import annotations

import os
import re
import shlex
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tallystick.common.errors import BadInputError
from tallystick.common.failing import why
from tallystick.server.operating.deployment.plan import (
    ENVIRONMENT_FILE,
    KEYS,
    RADIUS_CLIENTS,
    REQUEST_LOG,
    STATE,
    DeploymentKind,
    DeploymentPlan,
    DeploymentProxy,
)
from tallystick.server.serving.limits import IMPORT_LIMIT

# Nothing here is HTML; what values may be is decided in `plan`.
TEMPLATES = Environment(  # noqa: S701
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
MODEM = re.compile(r"modem://(/dev/[A-Za-z0-9/._-]+)")  # the device, as a unit names it
# Prometheus and Grafana have braces of their own: these are written as they are.
MONITORING = Path(__file__).parent / "monitoring"
UNITS = (
    "tallystick.service",
    "tallystick-backup.service",
    "tallystick-backup.timer",
    "tallystick-radius.service",
)


@dataclass(frozen=True)
class DeploymentFile:
    """name: in the folder that is written. to: where it belongs on the server's machine; "" for a
    file that is used where it lies. secret: whether it may have a password in it."""

    name: str
    to: str
    text: str
    secret: bool = False


def made_of(plan: DeploymentPlan) -> list[DeploymentFile]:
    """Every file of the deployment."""
    places = {"tallystick.env": ENVIRONMENT_FILE if plan.kind is DeploymentKind.SYSTEMD else ""}
    if plan.kind is DeploymentKind.SYSTEMD:
        places |= {unit: f"/etc/systemd/system/{unit}" for unit in UNITS}
        places["tallystick.sysusers"] = "/etc/sysusers.d/tallystick.conf"
        places["tallystick.tmpfiles"] = "/etc/tmpfiles.d/tallystick.conf"
        places["tallystick.logrotate"] = "/etc/logrotate.d/tallystick"
    else:
        places["Containerfile"] = ""
    if plan.proxy is DeploymentProxy.NGINX:
        places["nginx.conf"] = "/etc/nginx/conf.d/tallystick.conf"
    elif plan.proxy is DeploymentProxy.CADDY:
        places["Caddyfile"] = "/etc/caddy/Caddyfile"
    values = {
        **asdict(plan),
        "etc": "/etc",
        "state": STATE,
        "keys": KEYS,
        "key_file": f"{KEYS}/server.keys",
        "environment_file": ENVIRONMENT_FILE,
        "radius_clients": RADIUS_CLIENTS,
        "request_log": REQUEST_LOG,
        "server_name": plan.server_name,
        "https_port": plan.proxy_port,
        "modem": modem[1] if (modem := MODEM.match(plan.sms)) else "",
        # Nothing of a container's network is a proxy until somebody says which address it has.
        "trusted_proxies": "127.0.0.1,::1" if plan.kind is DeploymentKind.SYSTEMD else "",
        "body_mb": IMPORT_LIMIT // 1024**2 + 1,
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
    }
    watching = {
        "alerts.yml": "/etc/prometheus/rules/tallystick.yml",
        "dashboard.json": "",  # Grafana imports it
    }
    places["prometheus.yml"] = ""
    return [
        DeploymentFile(name, to, (MONITORING / name).read_text(encoding="utf-8"))
        for name, to in watching.items()
    ] + [
        DeploymentFile(
            name, to, TEMPLATES.get_template(name).render(values), secret=name.endswith(".env")
        )
        for name, to in places.items()
    ]


def write(files: list[DeploymentFile], folder: Path) -> None:
    """Write the files into a folder, which is made: all of them, or none. Raises BadInputError
    where one of them is there already, or cannot be written."""
    made: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        there = sorted(one.name for one in files if os.path.lexists(folder / one.name))
        if there:
            raise BadInputError(
                f"{', '.join(there)} in {folder} exists already.",
                kept="No file was written.",
                todo="Name another folder with --out.",
            )
        for one in files:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            descriptor = os.open(folder / one.name, flags, 0o600 if one.secret else 0o644)
            made.append(folder / one.name)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(one.text)
    except OSError as error:
        for path in made:
            path.unlink(missing_ok=True)
        raise BadInputError(
            f"The files cannot be written into {folder}: {why(error)}.",
            kept="No file was written.",
            todo="Make room there, or name another folder with --out.",
        ) from None


def next_steps(plan: DeploymentPlan, files: list[DeploymentFile], folder: Path) -> list[str]:
    """Commands, in their order, for whoever installs the server, as root."""
    if plan.kind is DeploymentKind.CONTAINER:
        name, port = "tallystick", plan.port
        volumes = f"--volume tallystick:{STATE} --volume tallystick-keys:{KEYS}"
        return [
            f"cp {_word(folder / 'Containerfile')} RELEASE/ && cd RELEASE",
            # The other format has no health check.
            f"podman build --format docker --file Containerfile --tag {name} .",
            f"podman run --detach --restart always --name {name} "
            f"--env-file {_word(folder.absolute() / 'tallystick.env')} {volumes} "
            f"--memory {plan.memory_mb}m --read-only --publish 127.0.0.1:{port}:{port} {name}",
            f"podman exec {name} tally server person add boss --role administrator",
            f"podman exec {name} tally server doctor",
        ]
    steps = [
        f"install -D -m {_mode(one)} {_word(folder / one.name)} {one.to}" for one in files if one.to
    ]
    as_server = f"runuser -u {plan.user} -- {plan.tally} server --environment {ENVIRONMENT_FILE}"
    proxy = {
        DeploymentProxy.NGINX: ["nginx -t && systemctl reload nginx"],
        DeploymentProxy.CADDY: ["systemctl reload caddy"],
        DeploymentProxy.NONE: [],
    }
    return [
        *steps,
        "systemd-sysusers && systemd-tmpfiles --create",
        f"chgrp {plan.user} {ENVIRONMENT_FILE}",
        "systemctl daemon-reload",
        "systemctl enable --now tallystick.service tallystick-backup.timer",
        *proxy[plan.proxy],
        f"{as_server} doctor",
        f"{as_server} person add boss --role administrator",
        f"{as_server} credential add --role monitor prometheus",
    ]


def _word(path: Path) -> str:
    """As a shell takes it for one word."""
    return shlex.quote(str(path))


def _mode(one: DeploymentFile) -> str:
    return "0640" if one.secret else "0644"
