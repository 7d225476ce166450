"""Traces: read as OpenTelemetry's own messages by a receiver on this machine. They name what was
asked and never what was typed; a collector that is away or hangs holds nobody up."""

from __future__ import annotations

import gzip
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest.mock import MagicMock

import httpx
import pytest
from opentelemetry import _logs, metrics, trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tallystick.common.errors import BadInputError
from tallystick.server.rules.otp import hotp
from tallystick.server.serving import tracing
from tallystick.server.serving.app import create_app
from tallystick.server.serving.running import running_in_thread
from tallystick.server.settings import settings_from
from tallystick.server.store.database import Database

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"  # W3C Trace Context's example


class Collector:
    """Takes OTLP over HTTP. raw: all that came, as it came but for compression."""

    def __init__(self) -> None:
        self.raw: list[bytes] = []
        self.paths: list[str] = []
        took = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                took.raw.append(body)
                took.paths.append(self.path)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def spans(self) -> list[Span]:
        requests = [ExportTraceServiceRequest.FromString(one) for one in self.raw]
        scopes = [s for r in requests for rs in r.resource_spans for s in rs.scope_spans]
        return [span for scope in scopes for span in scope.spans]


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


@contextmanager
def traced(server, url: str) -> Iterator[httpx.Client]:
    with (
        running_in_thread(replace(server.settings, traces=url)) as at,
        httpx.Client(base_url=at, timeout=60) as client,
    ):
        yield client


def attributes(span: Span) -> dict[str, str | int]:
    return {one.key: one.value.int_value or one.value.string_value for one in span.attributes}


def test_a_span_for_each_request_and_each_of_its_statements(server, collector):
    with traced(server, collector.url) as client:
        token = server.service.token.reveal().decode()
        bearer = {"authorization": f"Bearer {token}", "traceparent": CALLER}
        assert client.get("/v1/whoami", headers=bearer).status_code == 200
        client.get("/v1/nothing")
    assert set(collector.paths) == {"/v1/traces"}
    spans = {span.name: span for span in collector.spans()}
    whoami = spans["GET /v1/whoami"]
    assert whoami.kind == Span.SPAN_KIND_SERVER
    assert (whoami.trace_id.hex(), whoami.parent_span_id.hex()) == tuple(CALLER.split("-")[1:3])
    assert attributes(whoami) == {
        "http.request.method": "GET", "http.route": "/v1/whoami",
        "http.response.status_code": 200, "url.scheme": "http",
    }  # fmt: skip
    assert attributes(spans["GET"])["http.response.status_code"] == 404
    asked = [span for span in collector.spans() if span.parent_span_id == whoami.span_id]
    assert asked
    for span in asked:
        assert span.kind == Span.SPAN_KIND_CLIENT
        assert attributes(span)["db.system.name"] == "sqlite"
        assert whoami.start_time_unix_nano <= span.start_time_unix_nano
        assert span.end_time_unix_nano <= whoami.end_time_unix_nano
    assert "SELECT credential" in {span.name for span in asked}


def test_nothing_that_was_typed_is_in_a_trace(server, collector):
    seed = server.card()
    code = hotp(seed, 0, 6)
    token = server.service.token.reveal().decode()
    with traced(server, collector.url) as client:
        bearer = {"authorization": f"Bearer {token}", "tracestate": "a=b", "baggage": f"c={code}"}
        body = {"user": "ann", "code": code}
        assert client.post("/v1/verify", json=body, headers=bearer).json()["accepted"]
        client.get(f"/{token}?code={code}")
        client.get(f"/p/default/people/{code}?q={token}")
        client.get("/v1/health", headers={"user-agent": token, "traceparent": token})
        client.request("BREW", "/v1/health")
        client.post("/p/default/sign-in", data={"login": "xenia", "password": f"{code} horse"})
    told = b"".join(collector.raw)
    assert len(collector.spans()) > 6
    for secret in (code, token, "horse", "BREW", "Bearer", "xenia"):
        assert secret.encode() not in told


def test_an_error_has_no_text(server, collector, monkeypatch):
    def breaks(*_args: object) -> None:
        raise RuntimeError("secret of the caller")

    bearer = {"authorization": f"Bearer {server.service.token.reveal().decode()}"}
    with traced(server, collector.url) as client:
        assert client.get("/v1/health").status_code == 200  # it has started
        monkeypatch.setattr("tallystick.server.store.database.Database.read", breaks)
        monkeypatch.setattr("tallystick.server.store.database.Database.write", breaks)
        assert client.get("/v1/whoami", headers=bearer).status_code == 500
        monkeypatch.undo()
    (span,) = [one for one in collector.spans() if one.name.endswith("/v1/whoami")]
    assert span.status.code == Status.STATUS_CODE_ERROR
    assert not span.events and b"secret of" not in b"".join(collector.raw)


def test_a_statement_that_fails_ends_too(server, collector):
    traces = tracing.Traces(collector.url)
    database = Database(server.settings.db_url)
    traces.watch(database)
    with traces.tracer.start_as_current_span("request"), database.read() as connection:
        with pytest.raises(DBAPIError):
            connection.execute(text("SELECT 'abc' FROM nowhere"))
        connection.execute(text("SELECT 1 FROM firm"))
    database.close()
    traces.close()
    by_name = {span.name: span for span in collector.spans()}
    assert set(by_name) == {"request", "BEGIN", "SELECT nowhere", "SELECT firm"}
    assert by_name["SELECT nowhere"].status.code == Status.STATUS_CODE_ERROR
    assert by_name["SELECT firm"].status.code == Status.STATUS_CODE_UNSET
    assert {by_name[name].parent_span_id for name in by_name} == {b"", by_name["request"].span_id}
    assert b"abc" not in b"".join(collector.raw)


def test_on_postgresql(postgresql, tmp_path, collector):
    settings = settings_from(postgresql.new_database(), tmp_path / "s.keys")
    with (
        running_in_thread(replace(settings, traces=collector.url)) as at,
        httpx.Client(base_url=at, timeout=60) as client,
    ):
        client.get("/v1/whoami", headers={"authorization": "Bearer nobody.nothing"})
        client.get("/p/default/sign-in")
    systems = {attributes(span).get("db.system.name") for span in collector.spans()}
    assert systems == {"postgresql", None}
    assert "GET /p/{firm}/sign-in" in {span.name for span in collector.spans()}


def test_without_a_collector_nothing_is_made(server, monkeypatch):
    monkeypatch.setitem(sys.modules, "tallystick.server.serving.tracing", None)
    with running_in_thread(server.settings) as at:
        assert httpx.get(f"{at}/v1/health", timeout=60).status_code == 200


class Asked:
    """In the place of what a library, or a variable of the environment, sets up for a process."""

    def __init__(self) -> None:
        self.by: list[str] = []

    def instead_of(self, name: str):
        def provider():
            self.by.append(name)
            return MagicMock()

        return provider


@pytest.mark.parametrize("auto", ["true", "false"])
def test_the_framework_s_own_traces_are_off(server, monkeypatch, auto):
    """They would have queries, and the texts of errors."""
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", auto)
    asked = Asked()
    for module, name in (
        (trace, "get_tracer_provider"),
        (metrics, "get_meter_provider"),
        (_logs, "get_logger_provider"),
    ):
        monkeypatch.setattr(module, name, asked.instead_of(name))
    with running_in_thread(server.settings) as at:
        assert httpx.get(f"{at}/v1/health?code=123456", timeout=60).status_code == 200
        wrong = httpx.post(f"{at}/v1/verify", json={"code": "x"}, timeout=60)
        assert wrong.status_code == 422
    assert asked.by == []


def test_what_few_servers_need_is_not_imported_at_the_start():
    """Each takes time at the start, and memory for ever."""
    late = (
        "opentelemetry.sdk", "alembic", "babel", "lxml", "pskc", "httpx", "ldap", "fido2",
        "webauthn", "segno", "smpplib", "rich", "sqlalchemy.orm",
    )  # fmt: skip
    code = (
        "import sys, tallystick.server.operating.cli, tallystick.server.serving.running, "
        "tallystick.server.serving.app, tallystick.server.state\n"
        f"print([one for one in {late!r} if one in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_is_sampled_is_said_by_the_field_s_own_variables(server, collector, monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    with traced(server, collector.url) as client:
        client.get("/v1/health")
    assert not collector.raw


@pytest.mark.parametrize("how", ["away", "hangs"])
def test_a_collector_that_takes_nothing_holds_nobody_up(server, monkeypatch, how):
    monkeypatch.setattr(tracing, "EXPORT_S", 0.2)
    with socket.socket() as there:
        there.bind(("127.0.0.1", 0))
        if how == "hangs":
            there.listen()
        with traced(server, f"http://127.0.0.1:{there.getsockname()[1]}") as client:
            assert client.get("/v1/health").status_code == 200
            ended = threading.Event()
        ended.set()  # and the server stopped
    assert ended.is_set()


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("SELECT card.id, card.serial \nFROM card \nWHERE card.id = ?", "SELECT card"),
        ('SELECT "from" FROM "order" WHERE 1', "SELECT order"),
        ("INSERT INTO audit_entry (chain) VALUES (?)", "INSERT audit_entry"),
        ("UPDATE card SET serial='123456' WHERE id = 1", "UPDATE card"),
        ("DELETE FROM session WHERE token = 'abc'", "DELETE session"),
        ("BEGIN IMMEDIATE", "BEGIN"),
        ("PRAGMA journal_mode", "PRAGMA"),
        ("SELECT 654321", "SELECT"),
        ("WITH x AS (SELECT '123456') SELECT * FROM x", "WITH"),
        ("-- 123456", "SQL"),
    ],
)
def test_of_a_statement_its_kind_and_table_are_told(statement, name):
    told, said = tracing._said_of(statement)
    assert told == name
    assert all(re.fullmatch(r"[A-Za-z_.]+", value) for value in said.values())


@pytest.mark.parametrize(
    "url", ["localhost:4318", "grpc://localhost:4317", "http://", "http://user:word@host", "on"]
)
def test_what_is_no_url_is_refused_at_start(monkeypatch, tmp_path, url):
    monkeypatch.setenv("TALLY_SERVER_TRACES", url)
    with pytest.raises(BadInputError, match="not the URL of a collector") as refused:
        settings_from(f"sqlite:///{tmp_path / 's.db'}", tmp_path / "s.keys")
    assert "word" not in str(refused.value)


def test_a_url_is_taken(monkeypatch, tmp_path):
    monkeypatch.setenv("TALLY_SERVER_TRACES", "https://collector.example:4318/otlp")
    settings = settings_from(f"sqlite:///{tmp_path / 's.db'}", tmp_path / "s.keys")
    assert settings.traces == "https://collector.example:4318/otlp"


def test_without_the_extra_it_says_what_to_install(server, monkeypatch):
    monkeypatch.delitem(sys.modules, "tallystick.server.serving.tracing")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(BadInputError, match=r"opentelemetry\.sdk\.trace, which is not installed"):
        create_app(replace(server.settings, traces="http://localhost:4318"))
