"""Traces for an OpenTelemetry collector: a span for each request, and one in it for each statement
to the database. Imported only where a collector is named.

As the request log, a span has the route and never what was typed; of a statement it has the kind
and the table, neither text nor parameters; of an exception nothing. Names of attributes: semantic
conventions of OpenTelemetry for HTTP and database spans.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from sqlalchemy import Connection, event
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tallystick import __version__
from tallystick.server.serving.request_log import METHODS, UNKNOWN, route_of

if TYPE_CHECKING:
    from tallystick.server.store.database import Database

PATH = "/v1/traces"  # of OTLP over HTTP, below what is named
EXPORT_S = 3.0  # that a collector has to take what it is sent; then that is lost
NAME = "tallystick"
OTHER = "_OTHER"  # a method that is none of HTTP's
_SPANS = "tally_spans"  # in `Connection.info`: of statements that run
_STATEMENT = re.compile(
    r"\s*(?:(SELECT|DELETE)\b.*?\bFROM|(INSERT)\s+INTO|(UPDATE))\s+\"?(\w+)", re.DOTALL
)
_WORD = re.compile(r"\s*([A-Z]+)\b")


class Traces:
    """Makes spans, and sends them from a thread of its own. A collector that is away, or hangs,
    holds up nobody: what it does not take is dropped."""

    def __init__(self, collector: str) -> None:
        """collector: `http://host:4318`. How much is sampled, headers and certificates are said by
        the variables of OpenTelemetry (OTEL_…)."""
        resource = Resource.create({"service.name": NAME, "service.version": __version__})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(collector.rstrip("/") + PATH, timeout=EXPORT_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self.tracer = self._provider.get_tracer(f"{NAME}.server", __version__)

    def close(self) -> None:
        """Send what waits."""
        self._provider.shutdown()

    def watch(self, database: Database) -> None:
        """A span for each statement of a request."""
        engine, system = database.engine, database.url.get_backend_name()

        @event.listens_for(engine, "before_cursor_execute")
        def begin(connection: Connection, _cursor: Any, statement: str, *_rest: Any) -> None:
            span = None
            if trace.get_current_span().is_recording():  # otherwise it is the work of no request
                name, said = _said_of(statement)
                said["db.system.name"] = system
                span = self.tracer.start_span(name, kind=SpanKind.CLIENT, attributes=said)
            connection.info.setdefault(_SPANS, []).append(span)

        @event.listens_for(engine, "after_cursor_execute")
        def end(connection: Connection, *_rest: Any) -> None:
            _end_statement(connection)

        @event.listens_for(engine, "handle_error")
        def fail(context: Any) -> None:
            if context.connection is not None and context.statement is not None:
                _end_statement(context.connection, StatusCode.ERROR)


class RequestTraces:
    """A span for each request (plain ASGI), below that of whoever asked (`traceparent`, W3C Trace
    Context)."""

    def __init__(self, app: ASGIApp, traces: Traces) -> None:
        self._app = app
        self._tracer = traces.tracer
        self._propagator = TraceContextTextMapPropagator()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in METHODS else OTHER
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        headers = Headers(scope=scope)
        asked = {name: headers[name] for name in ("traceparent", "tracestate") if name in headers}
        with self._tracer.start_as_current_span(
            method,
            self._propagator.extract(asked),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": method, "url.scheme": scope["scheme"]},
            record_exception=False,  # its text and its traceback may hold anything
            set_status_on_exception=False,
        ) as span:
            try:
                await self._app(scope, receive, noting)
            finally:
                _tell_the_end(span, method, route_of(scope), status)


def _tell_the_end(span: Span, method: str, route: str, status: int) -> None:
    if route != UNKNOWN:
        span.update_name(f"{method} {route}")
        span.set_attribute("http.route", route)
    if status:
        span.set_attribute("http.response.status_code", status)
    if not status or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        span.set_status(StatusCode.ERROR)


def _said_of(statement: str) -> tuple[str, dict[str, str]]:
    """→ name and attributes: the kind of statement and the table, as far as they are known"""
    found = _STATEMENT.match(statement)
    if found is None:
        word = _WORD.match(statement)
        return (word[1], {"db.operation.name": word[1]}) if word else ("SQL", {})
    operation, table = found[1] or found[2] or found[3], found[4]
    return f"{operation} {table}", {"db.operation.name": operation, "db.collection.name": table}


def _end_statement(connection: Connection, status: StatusCode | None = None) -> None:
    spans: list[Span | None] = connection.info.get(_SPANS, [])
    span = spans.pop() if spans else None
    if span is None:
        return
    if status is not None:
        span.set_status(status)
    span.end()
