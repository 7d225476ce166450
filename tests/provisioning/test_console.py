"""The console without a browser: who is let in, and what a person is told."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from dataclasses import replace
from queue import Queue

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.common.errors import BadInputError, NoDeviceError, RefusedError, TallyError
from tallystick.common.secret import Secret
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.console import gate as gates
from tallystick.provisioning.console import workshop as workshops
from tallystick.provisioning.console.advice import advise
from tallystick.provisioning.console.console import Console
from tallystick.provisioning.console.gate import Gate
from tallystick.provisioning.console.guard import COOKIE, Guard
from tallystick.provisioning.console.peer import TABLE, same_user, uid_of_peer
from tallystick.provisioning.console.questions import Question, Questions
from tallystick.provisioning.console.seats import IDLE_S, Seats
from tallystick.provisioning.console.shell import prose
from tallystick.provisioning.console.workshop import Mood, Picture, Tile, Workshop
from tallystick.provisioning.custody.interface import ServerCredential
from tallystick.provisioning.desk import operator
from tallystick.provisioning.desk.client import Operator
from tallystick.provisioning.journal import CardState
from tallystick.provisioning.ready import ReadyStation
from tallystick.provisioning.steps import TYPING_TRIES, Plan
from tests import needs
from tests.provisioning.conftest import URL
from tests.provisioning.memory_card import MemoryCard, MemoryLink
from tests.provisioning.memory_registry import MemoryRegistry

PORT = 8321


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def shown() -> list[str]:
    return []


@pytest.fixture
def gate(shown, clock) -> Gate:
    gate = Gate(shown.append, clock)
    gate.offer()
    return gate


class FakeDesk:
    closed = False

    def close(self):
        self.closed = True


ANN, BOB = Operator("de-1", "Ann", "desk"), Operator("de-2", "Bob", "desk")


@pytest.fixture
def seats(clock) -> Seats:
    seats = Seats(clock)
    seats.take(FakeDesk(), ANN, "2580")
    seats.take(FakeDesk(), BOB, "8024")
    return seats


class TestSeats:
    def test_a_number_and_a_pin_bring_somebody_back(self, seats):
        assert seats.at_work().who is BOB
        assert seats.enter(0, "2580").who is ANN and seats.at_work().who is ANN

    def test_with_the_pin_of_another_nobody_is_at_work(self, seats):
        with pytest.raises(BadInputError, match="not the PIN of Ann"):
            seats.enter(0, "8024")
        assert seats.at_work() is None

    def test_five_wrong_pins_and_the_credential_is_forgotten(self, seats):
        desk = seats.people[0].desk
        for left in ("4 tries are", "3 tries are", "2 tries are", "One try is", "forgotten"):
            with pytest.raises(BadInputError) as refused:
                seats.enter(0, "0000")
            assert left in refused.value.kept
        assert desk.closed and [seat.who for seat in seats.people] == [BOB]

    def test_a_right_pin_gives_all_tries_back(self, seats):
        for _ in range(3):
            for _ in range(4):
                with pytest.raises(BadInputError):
                    seats.enter(0, "9")
            seats.enter(0, "2580")

    def test_the_desk_locks_when_it_is_left_alone(self, seats, clock):
        clock.now += IDLE_S
        seats.touch()
        clock.now += IDLE_S
        assert seats.at_work().who is BOB
        clock.now += IDLE_S + 1
        seats.touch()
        assert seats.at_work() is None and len(seats.people) == 2

    def test_the_same_credential_again_gets_a_new_pin(self, seats):
        old = seats.people[0].desk
        seats.take(FakeDesk(), ANN, "3691")
        assert old.closed and len(seats.people) == 2
        number = [seat.who for seat in seats.people].index(ANN)
        with pytest.raises(BadInputError):
            seats.enter(number, "2580")
        assert seats.enter(number, "3691").who is ANN

    @pytest.mark.parametrize("pin", ["", "123", "1234", "9876", "1111", "12a4", "²²²²", "1" * 9])
    def test_pins_that_are_none(self, seats, pin):
        with pytest.raises(BadInputError):
            seats.take(FakeDesk(), ANN, pin)

    def test_no_pin_in_a_repr(self, seats):
        assert "pin" not in repr(seats.people[0])


class TestWhoIsAtWork:
    """The credential that is kept on this computer, as others sign in and out in the terminal."""

    @pytest.fixture
    def console(self, tmp_path, gate, journal):
        ready = ReadyStation(None, None, journal, URL)
        console = Console(ready, gate, tmp_path / "operator.json", "auto")
        yield console
        console.close()

    @pytest.fixture
    def session(self, gate, shown):
        return gate.session(gate.enter(shown[0]))

    def sign_in(self, tmp_path, name: str) -> None:
        credential = ServerCredential(URL, name, Secret(f"tally_{name}".encode()))
        operator.save(tmp_path / "operator.json", credential)

    def test_a_shift_change_in_the_terminal_is_seen(self, console, session, tmp_path):
        assert console.desk(session) is None
        self.sign_in(tmp_path, "ann")
        anns = console.desk(session)
        assert console.desk(session) is anns
        self.sign_in(tmp_path, "bob")
        bobs = console.desk(session)
        assert bobs is not anns and console.desk(session) is bobs
        operator.remove(tmp_path / "operator.json")
        assert console.desk(session) is None

    def test_whoever_gave_her_own_credential_is_it_and_never_the_kept_one(
        self, console, session, tmp_path, clock
    ):
        self.sign_in(tmp_path, "ann")
        hers = FakeDesk()
        session.seats.take(hers, BOB, "8024")
        assert console.desk(session) is hers
        clock.now += IDLE_S + 1
        assert console.desk(session) is None
        session.seats.enter(0, "8024")
        session.seats.leave(session.seats.people[0])
        session.asked = True
        assert console.desk(session) is None

    def test_the_kept_one_locks_when_left_alone_until_it_is_signed_in_with_again(
        self, console, session, gate, tmp_path, clock
    ):
        self.sign_in(tmp_path, "ann")
        assert console.desk(session) is not None and console.who_works(session) == "ann"
        clock.now += IDLE_S
        gate.touch(session)
        clock.now += IDLE_S
        assert console.desk(session) is not None
        clock.now += IDLE_S + 1
        gate.touch(session)  # too late: whoever comes now did not sign in
        assert console.desk(session) is None and console.kept_is_locked(session)
        assert console.desk(session) is None
        self.sign_in(tmp_path, "ann")
        assert console.desk(session) is not None and not console.kept_is_locked(session)

    def test_put_aside_by_f2_nobody_gets_it_back_by_a_click(self, console, session, tmp_path):
        self.sign_in(tmp_path, "ann")
        assert console.desk(session) is not None
        session.kept.lock()
        session.asked = True
        assert console.desk(session) is None
        self.sign_in(tmp_path, "cleo")
        assert console.who_works(session) == "cleo"


class TestGate:
    def test_a_pass_serves_once(self, gate, shown):
        (word,) = shown
        token = gate.enter(word.lower().replace("-", " "))
        assert token and gate.session(token) is not None
        assert gate.enter(word) is None
        gate.offer()
        assert len(shown) == 2 and shown[1] != word

    def test_a_pass_that_is_good_is_not_shown_again(self, gate, shown):
        gate.offer()
        assert len(shown) == 1

    def test_five_guesses(self, gate, shown):
        for _ in range(gates.GUESSES):
            assert gate.enter("AAAA-AAAA") is None
        assert gate.enter(shown[0]) is None

    def test_nothing_is_no_pass(self, shown, clock):
        gate = Gate(shown.append, clock)
        assert gate.enter("") is None and gate.enter("-") is None and shown == []

    def test_a_pass_grows_old(self, gate, shown, clock):
        clock.now += gates.PASS_LIFE_S
        assert gate.enter(shown[0]) is None

    def test_a_session_ends_when_nobody_does_anything(self, gate, shown, clock):
        token = gate.enter(shown[0])
        session = gate.session(token)
        clock.now += gates.IDLE_S
        assert gate.touch(session)
        clock.now += gates.IDLE_S + 1
        assert not gate.touch(session) and gate.session(token) is None

    def test_a_session_ends_with_the_shift(self, gate, shown, clock):
        token = gate.enter(shown[0])
        session = gate.session(token)
        for _ in range(gates.SESSION_S // gates.IDLE_S + 1):
            clock.now += gates.IDLE_S
            alive = gate.touch(session)
        assert not alive

    def test_leaving_forgets_the_credential(self, gate, shown):
        session = gate.session(gate.enter(shown[0]))
        desk = FakeDesk()
        session.seats.take(desk, ANN, "2580")
        gate.leave(session)
        assert desk.closed and session.seats.people == () and session.over

    @given(st.text(max_size=20))
    def test_no_other_text_is_the_pass(self, text):
        shown: list[str] = []
        gate = Gate(shown.append, Clock())
        gate.offer()
        plain = "".join(sign for sign in text.upper() if sign.isalnum())
        assert (gate.enter(text) is None) == (plain != shown[0].replace("-", ""))


class Asked:
    """A request to the guard, and what came of it."""

    def __init__(self, gate: Gate, *, same: bool = True) -> None:
        self.reached = False
        self.sent: list[dict] = []
        self._guard = Guard(self._app, gate, PORT, lambda peer, here: same)

    async def _app(self, scope, receive, send) -> None:
        self.reached = True
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})

    def __call__(self, method="GET", path="/", kind="http", hosts=None, **headers) -> Asked:
        pairs = [(b"host", host.encode()) for host in hosts or [f"127.0.0.1:{PORT}"]]
        pairs += [(name.encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": kind, "path": path, "headers": pairs, "client": None, "server": None}
        if kind == "http":
            scope["method"] = method

        async def receive():
            return {"type": "websocket.connect"}

        async def send(message):
            self.sent.append(message)

        asyncio.run(self._guard(scope, receive, send))
        return self

    @property
    def status(self) -> int:
        return self.sent[0]["status"]

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}


@pytest.fixture
def cookie(gate, shown) -> str:
    return f"{COOKIE}={gate.enter(shown[0])}"


ORIGIN = f"http://127.0.0.1:{PORT}"


class TestGuard:
    def test_with_a_session_and_from_the_own_page(self, gate, cookie):
        for asked in (
            Asked(gate)(cookie=cookie),
            Asked(gate)(cookie=cookie, hosts=[f"localhost:{PORT}"]),
            Asked(gate)("POST", "/sign-out", cookie=cookie, origin=ORIGIN),
            Asked(gate)(path="/_nicegui_ws/", kind="websocket", cookie=cookie, origin=ORIGIN),
        ):
            assert asked.reached

    def test_without_a_session(self, gate):
        page = Asked(gate)(accept="text/html")
        assert (page.status, page.headers["location"], page.reached) == (303, "/sign-in", False)
        assert Asked(gate)(path="/audit.jsonl").status == 401
        assert Asked(gate)(cookie=f"{COOKIE}=guess").status == 401
        assert Asked(gate)(path="/sign-in").reached
        assert Asked(gate)("POST", "/sign-in", origin=ORIGIN).reached
        socket_ = Asked(gate)(kind="websocket", origin=ORIGIN)
        assert not socket_.reached and socket_.sent == [{"type": "websocket.close", "code": 1008}]

    @pytest.mark.parametrize(
        "hosts",
        [
            ["evil.example"],
            [f"evil.example:{PORT}"],
            ["127.0.0.1"],
            [f"127.0.0.1:{PORT + 1}"],
            [f"127.0.0.1:{PORT}", "evil.example"],
            [""],
        ],
    )
    def test_another_name_for_this_computer(self, gate, cookie, hosts):
        """DNS rebinding: the browser thinks that it is on the attacker's site."""
        asked = Asked(gate)(cookie=cookie, hosts=hosts)
        assert asked.status == 403 and not asked.reached

    @pytest.mark.parametrize("origin", ["https://evil.example", "null", "", f"{ORIGIN}0", None])
    def test_a_page_of_another_origin(self, gate, cookie, origin):
        """CSRF, also at the sign-in, and cross-site web sockets."""
        more = {} if origin is None else {"origin": origin}
        for path in ("/sign-in", "/sign-out", "/anything"):
            assert Asked(gate)("POST", path, cookie=cookie, **more).status == 403
        assert not Asked(gate)(kind="websocket", cookie=cookie, **more).reached

    def test_another_user_of_this_computer(self, gate, cookie):
        asked = Asked(gate, same=False)(cookie=cookie)
        assert asked.status == 403 and not asked.reached
        assert not Asked(gate, same=False)(path="/sign-in").reached

    def test_every_answer_has_its_headers(self, gate, cookie):
        for asked in (Asked(gate)(cookie=cookie), Asked(gate)(accept="text/html")):
            assert asked.headers["x-frame-options"] == "DENY"
            assert "frame-ancestors 'none'" in asked.headers["content-security-policy"]
            assert asked.headers["cache-control"] == "no-store"


@needs.linux.mark
def test_the_kernel_tells_whose_connection_it_is(tmp_path):
    with socket.socket() as server, socket.socket() as client:
        server.bind(("127.0.0.1", 0))
        server.listen(1)
        client.connect(server.getsockname())
        ours, _ = server.accept()
        with ours:
            peer, here = ours.getpeername(), ours.getsockname()
            assert uid_of_peer(peer, here) == os.getuid()
            assert same_user(peer, here)
            assert uid_of_peer((peer[0], peer[1] ^ 1), here) is None
            assert not same_user((peer[0], peer[1] ^ 1), here)
            assert not same_user(None, here)
            # The same table, had the connection been another user's.
            lines = [line.split() for line in TABLE.read_text().splitlines()]
            table = tmp_path / "tcp"
            for fields in lines[1:]:
                fields[7] = "4711"
            table.write_text("\n".join(" ".join(fields) for fields in lines))
            assert uid_of_peer(peer, here, table) == 4711


def picture(*tiles: Tile, **more) -> Picture:
    values = {
        "name": "june",
        "wanted": 10,
        "done": 0,
        "running": True,
        "stopping": False,
        "cards_per_min": 0.0,
        "left_s": None,
        "tiles": tiles,
        "troubles": (),
    }
    return Picture(**values | more)


def tile(name: str, mood: Mood) -> Tile:
    return Tile(f"/dev/{name}", mood)


class TestAdvice:
    def test_the_most_urgent_comes_first(self):
        said = advise(
            picture(
                tile("a", Mood.EMPTY), tile("b", Mood.DONE), tile("c", Mood.FAILED),
                tile("d", Mood.PRESS), tile("e", Mood.WORKING),
            )
        )  # fmt: skip
        assert said.text == "Press the button of the card in d." and said.urgent
        assert [text.split()[-1] for text in said.more] == ["below.", "in.", "a."]

    def test_names_are_put_together(self):
        names = [tile(name, Mood.EMPTY) for name in "abc"]
        assert advise(picture(*names)).text == "Put cards into a, b and c."
        many = [tile(name, Mood.EMPTY) for name in "abcdefgh"]
        assert advise(picture(*many)).text == "Put cards into a, b, c and 5 more."

    def test_no_more_cards_are_asked_for_than_are_wanted(self):
        tiles = [tile("a", Mood.WORKING), tile("b", Mood.EMPTY), tile("c", Mood.EMPTY)]
        assert advise(picture(*tiles, done=8)).text == "Put a card into b."
        assert advise(picture(*tiles, done=9)).text.startswith("Nothing to do")

    def test_before_and_after(self):
        assert "Plug in a dock" in advise(picture()).text
        assert "Stopping" in advise(picture(stopping=True)).text
        assert "complete" in advise(picture(running=False, done=10)).text
        assert "3 cards are missing" in advise(picture(running=False, done=7)).text
        assert "1 card is missing" in advise(picture(running=False, done=9)).text
        assert "fault" in advise(picture(running=False, fault="disk full")).text


class Docks:
    """A workshop with cards in memory on ports by name."""

    def __init__(self, custody, journal, monkeypatch) -> None:
        self.cards: dict[str, MemoryCard] = {}
        self.registry = MemoryRegistry()
        self.workshop = Workshop(ReadyStation(custody, self.registry, journal, URL))

        def open_card(port: str) -> CardConnection:
            if port not in self.cards:
                raise NoDeviceError("No card.")
            return CardConnection(MemoryLink(self.cards[port]))

        monkeypatch.setattr(CardConnection, "open", open_card)
        real = workshops.Batch
        monkeypatch.setattr(
            workshops, "Batch", lambda *args, **more: real(*args, open_card=open_card, **more)
        )


@pytest.fixture
def docks(custody, journal, monkeypatch):
    made = Docks(custody, journal, monkeypatch)
    yield made
    made.workshop.close()


def join(workshop: Workshop) -> Picture:
    workshop._run.thread.join(20)
    picture = workshop.picture()
    assert not picture.running
    return picture


@pytest.mark.parametrize("breaks", [False, True])
def test_keys_rest_when_the_batch_is_over(docks, custody, monkeypatch, breaks):
    rests: list[str] = []
    monkeypatch.setattr(type(custody), "rest", lambda _self: rests.append("rest"))
    docks.cards["a"] = MemoryCard()
    if breaks:
        monkeypatch.setattr("tallystick.provisioning.batch.Batch.run", lambda _self: 1 / 0)
    docks.workshop.start(Plan(batch="b"), 1, "a")
    assert bool(join(docks.workshop).fault) is breaks
    assert rests == ["rest"]


class TestQuestions:
    def ask(self, questions, serial="a"):
        """Asks in a thread. → (the question, what came of it)"""
        got: Queue = Queue()

        def work():
            try:
                got.put(questions.ask(serial))
            except NoDeviceError as error:
                got.put(error)

        threading.Thread(target=work, daemon=True).start()
        for _ in range(500):
            if pending := [one for one in questions.pending() if one.serial == serial]:
                return pending[0], got
            time.sleep(0.01)
        raise AssertionError("nothing is asked")

    def test_an_answer_goes_to_who_asked_and_only_once(self):
        questions = Questions()
        first, typed = self.ask(questions, "a")
        other, _ = self.ask(questions, "b")
        questions.answer(first, "123456")
        assert typed.get(timeout=60) == "123456"
        questions.answer(first, "654321")  # a slower browser
        assert questions.pending() == (other,)
        again, typed = self.ask(questions, "a")
        assert (again.wrong, again.tries_left) == (1, TYPING_TRIES - 1)
        questions.answer(first, "654321")  # the question of before
        assert again in questions.pending() and typed.empty()
        questions.forget("a")
        questions.answer(again, "1" * 6)
        typed.get(timeout=60)
        questions.close()

    def test_who_gives_up_is_not_asked_again(self):
        questions = Questions()
        question, typed = self.ask(questions)
        questions.give_up(question)
        assert typed.get(timeout=60) == "" and questions.ask("a") == "" == questions.ask("a")
        questions.forget("a")
        question, _ = self.ask(questions)
        assert question.wrong == 0
        questions.close()

    def test_nobody_waits_for_a_console_that_ends(self):
        questions = Questions()
        _, typed = self.ask(questions)
        questions.close()
        assert isinstance(typed.get(timeout=60), NoDeviceError)
        with pytest.raises(NoDeviceError):
            questions.ask("b")


class TestWorkshop:
    def test_a_batch_to_its_end(self, docks, journal):
        docks.cards = {name: MemoryCard(serial=f"TS0000000{name}") for name in "12"}
        assert docks.workshop.picture() is None
        docks.workshop.start(Plan(batch="june"), 2, "1,2")
        seen = join(docks.workshop)
        assert (seen.done, seen.complete, seen.troubles) == (2, True, ())
        assert [tile.done for tile in seen.tiles] == [1, 1]
        assert len(docks.registry.seeds) == 2
        assert [batch.finished for batch in journal.batches(5)] == [2]
        acts = [line for line in journal.audit_log() if "batch " in line]
        assert "batch begun" in acts[0] and "batch ended" in acts[-1]

    def test_one_at_a_time_and_stopped(self, docks):
        docks.workshop.start(Plan(batch="june"), 2, "nowhere")
        with pytest.raises(BadInputError):
            docks.workshop.start(Plan(batch="july"), 2, "nowhere")
        docks.workshop.stop()
        assert join(docks.workshop).done == 0

    def test_a_card_that_fails_is_told_of(self, docks):
        docks.cards = {"a": MemoryCard(keys=(bytes(16),) * 3)}
        docks.workshop.start(Plan(batch="june"), 1, "a")
        for _ in range(500):
            if docks.workshop.picture().troubles:
                break
            docks.workshop._run.thread.join(0.01)
        (trouble,) = docks.workshop.picture().troubles
        assert isinstance(trouble.error, RefusedError)
        assert docks.workshop.picture().tiles[0].mood is Mood.FAILED
        docks.workshop.stop()

    @staticmethod
    def asked(workshop: Workshop) -> Question:
        for _ in range(500):
            if questions := workshop.picture().questions:
                return questions[0]
            workshop._run.thread.join(0.01)
        raise AssertionError("nothing is asked")

    def test_button_and_display_are_checked(self, docks, journal):
        card = docks.cards["a"] = MemoryCard()
        workshop = docks.workshop
        workshop.start(Plan(batch="june"), 1, "a", confirm=True)
        question = self.asked(workshop)
        assert workshop.picture().tiles[0].mood is Mood.TYPE and workshop.picture().confirm
        assert "type the code" in advise(workshop.picture()).text
        workshop.stop()  # a card under way is finished all the same
        assert "type the code" in advise(workshop.picture()).text
        workshop.questions.answer(question, "000000")
        again = self.asked(workshop)
        assert again.wrong == 1
        workshop.questions.answer(again, card.code(2))
        assert join(workshop).done == 1
        begun = next(line for line in journal.audit_log() if "batch begun" in line)
        assert "button and display are checked" in begun and "new seeds" not in begun
        assert card.code(2) not in "".join(journal.audit_log())

    def test_a_display_that_shows_nothing(self, docks):
        card = docks.cards["a"] = MemoryCard()
        docks.workshop.start(Plan(batch="june"), 1, "a", confirm=True)
        docks.workshop.questions.give_up(self.asked(docks.workshop))
        docks.workshop.stop()
        (trouble,) = join(docks.workshop).troubles
        assert "on the display" in trouble.error.what and not card.seed
        assert docks.registry.seeds == {}

    def test_a_console_that_ends_leaves_a_card_to_be_resumed(self, docks, journal):
        docks.cards["a"] = MemoryCard()
        docks.workshop.start(Plan(batch="june"), 1, "a", confirm=True)
        self.asked(docks.workshop)
        docks.workshop.close()
        (trouble,) = join(docks.workshop).troubles
        assert "resume" in trouble.error.todo
        assert [record.state for record in journal.unfinished()] == [CardState.SEEDED]

    def test_cards_in_service_get_new_seeds_only_when_it_is_chosen(self, docks, journal):
        card = docks.cards["a"] = MemoryCard()
        docks.workshop.start(Plan(batch="june"), 1, "a")
        join(docks.workshop)
        old = card.seed
        docks.workshop.start(Plan(batch="july", reseed=True), 1, "a")
        seen = join(docks.workshop)
        assert (seen.done, seen.reseed, seen.confirm) == (1, True, False)
        assert card.seed != old and docks.registry.seeds == {card.serial: card.seed}
        lines = [line for line in journal.audit_log() if "july" in line]
        assert "new seeds for cards in service" in lines[0]
        assert "also in place of an older seed" in lines[1]

    def test_a_server_that_is_away_begins_nothing(self, docks):
        def away(call: str) -> None:
            raise TallyError("No server answers.")

        docks.registry.before = away
        with pytest.raises(TallyError):
            docks.workshop.start(Plan(batch="june"), 1, "a")
        assert docks.workshop.picture() is None


def test_prose_is_escaped_and_code_is_code():
    assert prose("run `tally <x>` & see") == "run <code>tally &lt;x&gt;</code> &amp; see"


def test_history_is_searched_literally(journal):
    for number, batch in enumerate(("june", "ju%e")):
        record = journal.begin(f"TS0000000{number}", batch, URL, "ada")
        journal.finish(record, CardState.LOCKED)
    assert [record.batch for record in journal.search("ju%", 10)] == ["ju%e"]
    assert len(journal.search("", 10)) == 2 and len(journal.search("ada", 1)) == 1
    assert journal.search("_S000", 10) == []
    assert replace(journal.search("TS00000000", 10)[0], id=0).user == "ada"
