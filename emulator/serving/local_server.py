"""An HTTP interface of an emulated device, served from a thread of its own."""

from __future__ import annotations

import socket
import threading

import uvicorn
from fastapi import FastAPI


class LocalServer:
    """`url` says where. It answers from `start` to `stop`."""

    def __init__(self, app: FastAPI, listener: socket.socket, *, lifespan: bool = False) -> None:
        """lifespan: the application has things to begin and to end."""
        self._socket = listener
        self.url = url_of(listener)
        config = uvicorn.Config(app, log_level="warning", lifespan="on" if lifespan else "off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listener]}, daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(5)
        self._socket.close()


def url_of(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"
