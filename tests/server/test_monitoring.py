"""Alerts and dashboard: read by Prometheus' own tool, and about metrics that the server has."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import httpx
import pytest

from tallystick.server import metrics
from tallystick.server.operating.deployment.files import MONITORING
from tallystick.server.rules.judge import Reason
from tallystick.server.serving.running import add_credential, running_in_thread
from tallystick.server.store.trouble import DatabaseTrouble
from tests import needs
from tests.server.test_deployment import written

ALERTS = MONITORING / "alerts.yml"
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
NAMED = re.compile(r"\b(?:tally|process)_[a-z_]+")


def promtool(*words: str) -> str:
    needs.promtool.or_skip()
    done = subprocess.run(
        [str(needs.program("promtool")), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_reads_the_alerts_and_the_settings(tmp_path):
    assert "11 rules found" in promtool("check", "rules", str(ALERTS))
    text = (written(tmp_path) / "prometheus.yml").read_text()
    settings = tmp_path / "prometheus.yml"
    token = tmp_path / "token"
    token.write_text("x")
    settings.write_text(
        text.replace("/etc/prometheus/rules/tallystick.yml", str(ALERTS)).replace(
            "/etc/prometheus/tallystick.token", str(token)
        )
    )
    promtool("check", "config", str(settings))


def test_prometheus_reads_every_query_of_the_dashboard(tmp_path):
    rules = [
        {
            "record": f"panel{n}",
            "expr": query.replace("$__rate_interval", "5m").replace("$instance", ".*"),
        }
        for n, query in enumerate(QUERIES)
    ]
    file = tmp_path / "queries.yml"  # JSON is YAML
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(QUERIES)} rules found" in promtool("check", "rules", str(file))


CRITICAL = ("TallystickDown", "TallystickGroundGone", "TallystickDatabaseAway")


def test_each_trouble_of_the_database_has_an_alert():
    kinds = re.findall(r'trouble_total{kind=~"([^"]*)"', ALERTS.read_text())
    assert sorted("|".join(kinds).split("|")) == sorted(one.value for one in DatabaseTrouble)


SERIES = 'job="tallystick", instance="a"'


ALONE = (
    ("TallystickDown", "up", "1 0 0 0 0", "4m", {}),
    (
        "TallystickGroundGone", 'tally_database_trouble_total{kind="full"}',
        "0 0 0 1 1", "4m", {"kind": "full"},
    ),
    (
        "TallystickMessagesFail", 'tally_messages_total{channel="email", outcome="failed"}',
        "0 3 6 9 12", "4m", {"channel": "email"},
    ),
    (
        "TallystickAuditStreamDrops", 'tally_audit_stream_total{outcome="failed"}',
        "0 0 1 2 3", "4m", {"outcome": "failed"},
    ),
    ("TallystickRequestLogLost", "tally_request_log_lost_total", "0 0 1 1 1", "4m", {}),
    (
        "TallystickGroundGone", 'tally_database_trouble_total{kind="gone"}',
        "0 0 0 1 1", "4m", {"kind": "gone"},
    ),
    (
        "TallystickDatabaseAway", 'tally_database_trouble_total{kind="away"}',
        "0 10 20 30 40", "4m", {},
    ),
    (  # nobody asks anything: the server tries twice a minute, and is told "locked"
        "TallystickDatabaseAway", 'tally_database_trouble_total{kind="locked"}',
        "0 2 4 6 8 10 12 14", "7m", {},
    ),
    (
        "TallystickClock", 'tally_clock_faults_total{where="back"}', "0 0 0 1 1", "4m",
        {"where": "back"},
    ),
    ("TallystickRestarts", "process_start_time_seconds", "1 2 3 4 5", "4m", {}),
    ("TallystickRestarts", "tally_workers_ended_total", "0 2 4 6 8", "4m", {}),
    ("TallystickManyFiles", "process_open_fds", "9 850 850 850 850 850 850 850", "7m", {}),
)  # fmt: skip


@pytest.mark.parametrize(("alert", "series", "values", "at", "labels"), ALONE)
def test_an_alert_is_raised(tmp_path, alert, series, values, at, labels):
    """promtool plays the series; without the fault nothing is raised."""
    name, _, more = series.partition("{")
    full = f"{name}{{{SERIES}{', ' + more if more else '}'}"
    severity = "critical" if alert in CRITICAL else "warning"
    quiet = " ".join(values.split()[0] for _ in values.split())
    shown = {"severity": severity, "instance": "a"} | labels
    if alert not in ("TallystickMessagesFail", "TallystickDatabaseAway"):  # which sum
        shown["job"] = "tallystick"
    for played, raised in ((values, [{"exp_labels": shown}]), (quiet, [])):
        tests = {
            "rule_files": [str(ALERTS)],
            "tests": [
                {
                    "interval": "1m",
                    "input_series": [{"series": full, "values": played}],
                    "alert_rule_test": [
                        {"eval_time": at, "alertname": alert, "exp_alerts": _with_words(alert, one)}
                        for one in [raised]
                    ],
                }
            ],
        }
        file = tmp_path / "tests.yml"
        file.write_text(json.dumps(tests))
        promtool("test", "rules", str(file))


PLAYED = (
    (
        "TallystickChecksSlow",
        {'tally_batch_seconds_bucket{le="0.1"}': "0+117x20", **{
            f'tally_batch_seconds_bucket{{le="{le}"}}': "0+120x20" for le in ("0.5", "+Inf")}},
        {'tally_batch_seconds_bucket{le="0.05"}': "0+119x20", **{
            f'tally_batch_seconds_bucket{{le="{le}"}}': "0+120x20" for le in ("0.1", "+Inf")}},
        "A check on a takes longer than 0.1 s (p99)",
        "Look at the disk's latency, and at what else the machine does",
    ),
    (
        "TallystickManyWrongCodes",
        {'tally_checks_total{reason="wrong"}': "0+40x30",
         'tally_checks_total{reason="throttled"}': "0+30x30",
         'tally_checks_total{reason="ok"}': "0+60x30"},
        {'tally_checks_total{reason="wrong"}': "0+40x30",
         'tally_checks_total{reason="replayed"}': "0+30x30",
         'tally_checks_total{reason="ok"}': "0+60x30"},
        "Most codes that a is asked for are wrong: somebody guesses",
        "The audit log, and tally server audit fail2ban",
    ),
)  # fmt: skip


@pytest.mark.parametrize("played", PLAYED, ids=lambda one: one[0])
def test_an_alert_about_many_series_is_raised(tmp_path, played):
    """And is not, where they are nearly so."""
    alert, faulty, nearly, summary, todo = played
    raised = {
        "exp_labels": {"severity": "warning", "instance": "a"},
        "exp_annotations": {"summary": summary, "todo": todo},
    }
    for series, wanted in ((faulty, [raised]), (nearly, [])):
        test = {
            "interval": "1m",
            "input_series": [
                {"series": name.replace("{", f"{{{SERIES}, "), "values": values}
                for name, values in series.items()
            ],
            "alert_rule_test": [{"eval_time": "18m", "alertname": alert, "exp_alerts": wanted}],
        }
        file = tmp_path / "tests.yml"
        file.write_text(json.dumps({"rule_files": [str(ALERTS)], "tests": [test]}))
        promtool("test", "rules", str(file))


def test_every_alert_is_played():
    played = {one[0] for one in (*ALONE, *PLAYED)}
    assert played == set(re.findall(r"alert: (\w+)", ALERTS.read_text()))


def test_every_value_that_is_asked_for_can_be_there(server):
    """`reason="wrng"` is no metric's: what asks for it is never told anything."""
    known = {
        ("tally_checks_total", "reason"): {one.value for one in Reason},
        ("tally_database_trouble_total", "kind"): {one.value for one in DatabaseTrouble},
    }
    text = metrics.exposition({}).decode()
    for name, labels in re.findall(r"^(\w+){(.*)} ", text, re.MULTILINE):
        for label, value in re.findall(r'(\w+)="([^"]*)"', labels):
            known.setdefault((name, label), set()).add(value)
    asked = 0
    for query in (ALERTS.read_text(), *QUERIES):
        for name, labels in re.findall(r"\b((?:tally|process|up)\w*){([^}]*)}", query):
            for label, values in re.findall(r'(\w+)=~?"([^"]*)"', labels):
                if label == "job":
                    assert values == "tallystick"
                elif label != "instance":
                    asked += 1
                    assert set(values.split("|")) <= known[name, label], (name, label, values)
    assert asked >= 5


def _with_words(alert: str, raised: list[dict]) -> list[dict]:
    """promtool compares annotations, too."""
    words = {
        "TallystickDown": (
            "a does not answer", "journalctl -u tallystick; tally server doctor",
        ),
        "TallystickGroundGone": (
            "The database of a is full: nothing is verified",
            "docs/reference/server.md, When the ground gives way",
        ),
        "TallystickMessagesFail": (
            "Messages by email do not go out", "tally server doctor asks the gateway",
        ),
        "TallystickAuditStreamDrops": (
            "Entries of the audit log do not reach their receiver; the database has them",
            "Look at the receiver; tally server audit export has what is missing there",
        ),
        "TallystickRequestLogLost": (
            "Lines of the request log of a are lost", "Is the disk of /var/log full?",
        ),
        "TallystickDatabaseAway": (
            "a does not reach its database",
            "Look at PostgreSQL and who leads; tally server doctor",
        ),
        "TallystickClock": (
            "The clock of a was set far back",
            "Look at the machine's time, and at tally server doctor",
        ),
        "TallystickRestarts": (
            "Processes of a end again and again",
            "journalctl -u tallystick: killed, memory, an error? MemoryMax in the unit",
        ),
        "TallystickManyFiles": (
            "a has nearly as many connections or files open as it may",
            "Who holds connections open? LimitNOFILE in the unit",
        ),
    }  # fmt: skip
    kind = raised[0]["exp_labels"].get("kind", "") if raised else ""
    summary, todo = words[alert]
    summary = summary.replace("full", kind) if kind else summary
    return [one | {"exp_annotations": {"summary": summary, "todo": todo}} for one in raised]


def test_every_metric_that_is_named_is_there(server):
    """Also before the first event: what is counted begins at 0."""
    named = set(NAMED.findall(ALERTS.read_text())) | {
        name for query in QUERIES for name in NAMED.findall(query)
    }
    monitor = add_credential(server.settings, "monitor", "prometheus")
    headers = {"authorization": f"Bearer {monitor.token.reveal().decode()}"}
    with running_in_thread(server.settings) as url:
        text = httpx.get(f"{url}/v1/metrics", headers=headers, timeout=60).text
    types = dict(re.findall(r"# TYPE (\S+) (\S+)", text))
    ends = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}
    there = {name + end for name, kind in types.items() for end in ends.get(kind, ())}
    assert named <= there, named - there
    assert 'tally_database_trouble_total{kind="full"} ' in text
    guide = Path(needs.ROOT / "docs/guides/operations.md").read_text(encoding="utf-8")
    alerts = re.findall(r"alert: (\w+)", ALERTS.read_text())
    assert all(f"`{alert}`" in guide for alert in alerts)
