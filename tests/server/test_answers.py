"""An answer that has begun is not begun again, however long the rest of it takes."""

from __future__ import annotations

import ast
import asyncio
from types import SimpleNamespace

import pytest

from tallystick.server.serving import answers
from tallystick.server.serving.answers import AnswerTime
from tests import needs

SCOPE = {
    "type": "http", "method": "GET", "path": "/p/default/audit/export", "headers": [],
    "query_string": b"",
}  # fmt: skip


@pytest.mark.parametrize("begins", [True, False])
def test_an_export_that_takes_longer_than_an_answer_may(monkeypatch, begins):
    """Its time is over while it is under way: one that has begun goes on, another one is 503."""
    sent: list[dict] = []

    async def run() -> None:
        under_way, go_on = asyncio.Event(), asyncio.Event()

        async def app(_scope, _receive, send) -> None:
            if begins:
                await send({"type": "http.response.start", "status": 200, "headers": []})
            under_way.set()
            await go_on.wait()
            if not begins:
                await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"the rest"})

        async def over(_work, _scope) -> bool:
            await under_way.wait()
            asyncio.get_running_loop().call_soon(go_on.set)
            return False

        async def send(message) -> None:
            sent.append(message)

        monkeypatch.setattr(answers, "_wait", over)
        scope = SCOPE | {"app": SimpleNamespace(state=SimpleNamespace())}
        await AnswerTime(app)(scope, None, send)
        for _ in range(5):  # until what was left behind has ended
            await asyncio.sleep(0)

    asyncio.run(run())
    starts = [one["status"] for one in sent if one["type"] == "http.response.start"]
    bodies = b"".join(one.get("body", b"") for one in sent)
    assert starts == [200 if begins else 503]
    assert (b"the rest" in bodies) is begins


NEVER = {"not-sent"}  # it does not pass by itself: use something else


def test_whoever_is_told_to_come_again_is_told_when():
    """503 and 429, wherever they are made."""
    asked = 0
    for path in sorted((needs.ROOT / "server").rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call) or not call.args:
                continue
            status, *more = (getattr(one, "value", None) for one in call.args)
            if status in (503, 429) and more and more[0] not in NEVER:
                asked += 1
                said = {one.arg for one in call.keywords}
                assert "retry_after_s" in said, f"{path.name}:{call.lineno}"
    assert asked > 8
