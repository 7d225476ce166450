"""The console's application, and serving it to this computer."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response
from nicegui import ui

from tallystick.common.errors import BadInputError
from tallystick.provisioning.console.batch_page import BatchPage
from tallystick.provisioning.console.console import Console
from tallystick.provisioning.console.desk_page import DeskPage
from tallystick.provisioning.console.gate import Gate
from tallystick.provisioning.console.guard import Guard, token_in
from tallystick.provisioning.console.peer import same_user
from tallystick.provisioning.console.record_pages import AuditPage, HistoryPage
from tallystick.provisioning.console.shell import MAX_SCAN, Page
from tallystick.provisioning.console.sign_in import routes
from tallystick.provisioning.console.statistics_page import StatisticsPage
from tallystick.provisioning.labels import pdf
from tallystick.provisioning.labels.layout import STOCKS, blanks, by_serial, draw, from_on
from tallystick.provisioning.ready import ReadyStation

LABELS = "a4-3x8"
FAVICON = "🪪"


def create_app(console: Console) -> FastAPI:
    """Everything but the guard in front of it. Once in a process: the UI library has one set of
    pages."""
    app = FastAPI(title="Tallystick station", openapi_url=None, docs_url=None, redoc_url=None)
    app.include_router(routes(console.gate))

    def page(request: Request) -> Page:
        session = console.gate.session(token_in(dict(request.headers)))
        assert session is not None, "the guard lets nobody else in"
        console.gate.touch(session)
        return Page(console, session)

    @ui.page("/", favicon=FAVICON)
    def batch(request: Request) -> None:
        BatchPage(page(request)).build()

    @ui.page("/desk", favicon=FAVICON, response_timeout=15)
    async def desk(request: Request, card: str = "", person: str = "") -> None:
        await DeskPage(page(request), card.strip()[:MAX_SCAN], person.strip()[:255]).build()

    @ui.page("/history", favicon=FAVICON)
    def history(request: Request, q: str = "") -> None:
        HistoryPage(page(request), q[:MAX_SCAN]).build()

    @ui.page("/audit", favicon=FAVICON)
    def audit(request: Request) -> None:
        AuditPage(page(request)).build()

    @app.get("/audit.jsonl")
    def audit_export() -> Response:
        lines = "".join(f"{line}\n" for line in console.journal.audit_log())
        return PlainTextResponse(lines, media_type="application/jsonl")

    @app.get("/labels/{batch}.pdf")
    def labels(batch: str, start: int = 1, first: str = "") -> Response:
        records = console.journal.finished(batch)
        if not records:
            return PlainTextResponse("This batch has no finished card.\n", 404)
        stock = STOCKS[LABELS]
        try:
            before = blanks(stock, start)
            serials = by_serial({record.serial for record in records})
            serials = from_on(serials, first.strip() or None)
        except BadInputError as error:
            return PlainTextResponse(f"{error}\n", 422)
        made = pdf.write(before + [draw(serial, stock, batch) for serial in serials], stock)
        return Response(made, media_type="application/pdf")

    @app.get("/label/{serial}.pdf")
    def label(serial: str, start: int = 1) -> Response:
        """One label again, on any place of a sheet."""
        stock = STOCKS[LABELS]
        try:
            made = pdf.write([*blanks(stock, start), draw(serial, stock)], stock)
        except BadInputError as error:
            return PlainTextResponse(f"{error}\n", 422)
        return Response(made, media_type="application/pdf")

    @ui.page("/statistics", favicon=FAVICON, response_timeout=15)
    async def statistics(request: Request, days: int = 30) -> None:
        await StatisticsPage(page(request), min(max(days, 1), 366)).build()

    ui.run_with(app, dark=None, language="en-US", reconnect_timeout=10)
    return app


def listen(port: int) -> socket.socket:
    """A socket on this computer only; port 0 lets the system choose. Raises BadInputError."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(("127.0.0.1", port))
    except OSError as error:
        sock.close()
        raise BadInputError(
            f"The console cannot listen on port {port}: {error.strerror}.",
            todo="Choose another --listen-port (0 lets the system choose).",
        ) from None
    return sock


def serve(
    ready: ReadyStation,
    sock: socket.socket,
    operator_file: Path,
    ports: str,
    show_pass: Callable[[str], None],
    *,
    any_user: bool = False,
) -> None:
    """Serve until SIGINT or SIGTERM; cards under way are finished."""
    ready.custody.rest()  # until a batch begins
    gate = Gate(show_pass)
    console = Console(ready, gate, operator_file, ports)
    port = sock.getsockname()[1]
    guard = Guard(create_app(console), gate, port, (lambda *_: True) if any_user else same_user)
    config = uvicorn.Config(
        guard,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # who asks is what the kernel says, not what a header says
        timeout_graceful_shutdown=2,
    )
    gate.offer()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # both end it in the same good order
    try:
        with suppress(KeyboardInterrupt):  # raised again once everything is answered
            uvicorn.Server(config).run(sockets=[sock])
    finally:
        console.close()
