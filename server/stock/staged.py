"""Entries of a token file, between being read and being registered: on disk, not in memory.

Nothing of it is left when the process ends, however it ends (`store.private`). Seeds in it are
encrypted under a key that only this process's memory holds.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tallystick.common import chance
from tallystick.common.secret import Secret
from tallystick.server.rules.judge import Generator
from tallystick.server.stock.gathering import CardSeed, Judged, SealedCard
from tallystick.server.store.batches import BATCH, batched
from tallystick.server.store.keys import Box
from tallystick.server.store.private import PrivateDatabase

_TABLE = """
CREATE TABLE entry (number INTEGER PRIMARY KEY, serial TEXT, key_id TEXT, print BLOB, seed BLOB,
factor INTEGER, algorithm TEXT, step_s INTEGER, digits INTEGER, drift INTEGER, valid_until INTEGER,
user TEXT)
"""
# What goes into the database, and what became of it.
_SEALED = """
CREATE TABLE sealed (number INTEGER PRIMARY KEY, fingerprint BLOB, key_id TEXT, box BLOB,
status TEXT, starts INTEGER, assigned INTEGER DEFAULT 0, link INTEGER, mac BLOB)
"""
_READ_SEALED = """
SELECT number, serial, factor, algorithm, step_s, digits, drift, valid_until, user, fingerprint,
sealed.key_id, box, status, starts FROM sealed JOIN entry USING (number)
"""
_READ_ANSWERS = """
SELECT number, serial, status, digits, starts, algorithm, step_s, user, assigned
FROM sealed JOIN entry USING (number)
"""
_READ_STATUS = "SELECT number, serial, status FROM sealed JOIN entry USING (number)"
_CARD_ROWS = """
SELECT ?, serial, status, starts, sealed.key_id, box, fingerprint, ?, ?, 0, 0, 0, algorithm,
step_s, digits, drift, valid_until FROM sealed JOIN entry USING (number) WHERE status = ?
ORDER BY number
"""
_LINKED_ROWS = """
SELECT ?, link, ?, ?, ?, ?, serial, ?, mac FROM sealed JOIN entry USING (number)
WHERE link IS NOT NULL ORDER BY number
"""
_SAME_SEED = """
SELECT number, serial FROM sealed JOIN entry USING (number) WHERE status = ? AND number NOT IN
(SELECT min(number) FROM sealed WHERE status = ? GROUP BY fingerprint)
"""
_ADD = "INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_READ = (
    "SELECT number, serial, key_id, seed, factor, algorithm, step_s, digits, drift, valid_until, "
    "user FROM entry"
)
_REPEATED = """
SELECT number, serial, print FROM entry
WHERE serial IN (SELECT serial FROM entry GROUP BY serial HAVING count(*) > 1)
OR print IN (SELECT print FROM entry GROUP BY print HAVING count(*) > 1) ORDER BY number
"""


class StagedEntries(Sequence[CardSeed]):
    """In the order of their numbers. Each reading makes objects anew, with their seeds."""

    def __init__(self) -> None:
        self._database = PrivateDatabase(_TABLE, _SEALED)
        self._cipher = AESGCM(chance.token_bytes(32))
        self._print_key = chance.token_bytes(32)
        self._waiting: list[tuple[Any, ...]] = []
        self._count = 0
        self._indexed = False

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[CardSeed]:
        for _, entry in self.numbered():
            yield entry

    @overload
    def __getitem__(self, index: int) -> CardSeed: ...
    @overload
    def __getitem__(self, index: slice) -> list[CardSeed]: ...
    def __getitem__(self, index: int | slice) -> CardSeed | list[CardSeed]:
        if isinstance(index, slice):
            return list(self)[index]
        self._flush()
        at = index if index >= 0 else self._count + index
        row = self._database.do(f"{_READ} ORDER BY number LIMIT 1 OFFSET ?", at).fetchone()
        if at < 0 or row is None:
            raise IndexError(index)
        return self._entry(row)

    def put(self, number: int, entry: CardSeed) -> None:
        """number: of the entry, larger than any before. Its seed is wiped."""
        seed, generator = entry.seed.reveal(), entry.generator
        self._waiting.append(
            (
                number, entry.serial, entry.key_id,
                hmac.digest(self._print_key, seed, "sha256"),
                self._cipher.encrypt(number.to_bytes(12, "big"), seed, None),
                entry.moving_factor, generator.algorithm, generator.step_s, generator.digits,
                entry.drift, entry.valid_until, entry.user,
            )
        )  # fmt: skip
        entry.seed.wipe()
        self._count += 1
        if len(self._waiting) >= BATCH:
            self._flush()

    def numbered(self) -> Iterator[tuple[int, CardSeed]]:
        self._flush()
        for row in self._rows(_READ):
            yield row[0], self._entry(row)

    def judge(self, work: Callable[[list[tuple[int, CardSeed]]], list[Judged]]) -> Iterator[int]:
        """Make each ready for the database, and note what would become of it. → how many were,
        now and then"""
        done = 0
        self._database.do("DELETE FROM sealed")
        for batch in batched(self.numbered()):
            rows = [
                (
                    one.card.number, one.card.fingerprint, one.card.box.key_id, one.card.box.blob,
                    one.status, one.factor,
                )
                for one in work(batch)
            ]  # fmt: skip
            for _, entry in batch:
                entry.seed.wipe()
            self._database.do_many(
                "INSERT INTO sealed (number, fingerprint, key_id, box, status, starts) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                rows,
            )
            done += len(batch)
            yield done

    def same_seeds(self, status: str) -> list[tuple[int, str]]:
        """Entries of this status with the seed of one before, as codes see it: they are left out.
        → numbers and serial numbers"""
        found = self._database.do(_SAME_SEED, status, status).fetchall()
        self._database.do_many("DELETE FROM sealed WHERE number = ?", [one[:1] for one in found])
        return found

    def judged(self) -> Iterator[Judged]:
        for row in self._rows(_READ_SEALED):
            number, serial, factor, algorithm, step_s, digits, drift, valid_until, *rest = row
            user, fingerprint, key_id, blob, status, starts = rest
            card = SealedCard(
                number, serial, factor, Generator(algorithm, step_s, digits), drift, valid_until,
                user, fingerprint, Box(key_id, blob),
            )  # fmt: skip
            yield Judged(card, status, starts)

    def link(self, status: str, link: Callable[[str], tuple[int, bytes]]) -> Iterator[int]:
        """Keep what `link` makes of the serial number of each of this status. → how many, now and
        then"""
        done = 0
        for batch in batched(self._rows(_READ_STATUS)):
            rows = [(*link(serial), number) for number, serial, is_so in batch if is_so == status]
            self._database.do_many("UPDATE sealed SET link = ?, mac = ? WHERE number = ?", rows)
            done += len(batch)
            yield done

    def card_rows(self, status: str, *same: object) -> Iterator[tuple[Any, ...]]:
        """Of each card of this status what `cards.WRITTEN_COLUMNS` names, straight from the disk.
        same: what is the same of them all, as it stands there: firm, who registered it, when."""
        return self._database.do(_CARD_ROWS, *same, status)

    def linked_rows(self, row: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        """Entries of the audit log, with their links. row: what one is, but for number and
        subject."""
        chain, _, at_ms, firm_id, actor, action, _, detail = row
        return self._database.do(_LINKED_ROWS, chain, at_ms, firm_id, actor, action, detail)

    def assigned(self, number: int) -> None:
        self._database.do("UPDATE sealed SET assigned = 1 WHERE number = ?", number)

    def count(self, status: str = "") -> int:
        """Of those that are registered; of this status only."""
        query = "SELECT count(*) FROM sealed WHERE ? IN ('', status)"
        return int(self._database.do(query, status).fetchone()[0])

    def answers(self) -> Iterator[dict[str, Any]]:
        """As the API shows them, in the order of their numbers."""
        for _, serial, status, digits, factor, algorithm, step_s, user, has in self._rows(
            _READ_ANSWERS
        ):
            yield {
                "serial": serial,
                "status": status,
                "digits": digits,
                "moving_factor": factor,
                "type": Generator(algorithm, step_s, digits).type,
                "algorithm": algorithm,
                "step_s": step_s,
                "user": user or None,
                "assigned": bool(has),
            }

    def _rows(self, query: str) -> Iterator[tuple[Any, ...]]:
        """In pieces: others may write between two of them."""
        after = 0
        while rows := self._database.do(
            f"{query} WHERE number > ? ORDER BY number LIMIT {BATCH}", after
        ).fetchall():
            yield from rows
            after = rows[-1][0]

    def rename(self, number: int, serial: str) -> None:
        self._database.do("UPDATE entry SET serial = ? WHERE number = ?", serial, number)

    def drop(self, number: int) -> str:
        """→ the serial number of the entry that is gone"""
        (serial,) = self._database.do(
            "DELETE FROM entry WHERE number = ? RETURNING serial", number
        ).fetchone()
        self._count -= 1
        return str(serial)

    def of_one_serial(self) -> Iterator[list[tuple[int, str, str]]]:
        """Entries that share a serial number: number, serial number, key id."""
        self._index()
        shared = self._database.do("SELECT serial FROM entry GROUP BY serial HAVING count(*) > 1")
        for (serial,) in shared.fetchall():
            alike = "SELECT number, serial, key_id FROM entry WHERE serial = ? ORDER BY number"
            yield self._database.do(alike, serial).fetchall()

    def is_only_key_id(self, key_id: str) -> bool:
        query = "SELECT count(*) FROM (SELECT 1 FROM entry WHERE key_id = ? LIMIT 2)"
        return bool(self._database.do(query, key_id).fetchone()[0] == 1)

    def repeats(self) -> list[tuple[int, str, bytes]]:
        """Entries that share a serial number or a seed with another: number, serial number, and
        what is equal for equal seeds."""
        self._index()
        return self._database.do(_REPEATED).fetchall()

    def close(self) -> None:
        self._database.close()

    def _flush(self) -> None:
        self._database.do_many(_ADD, self._waiting)
        self._waiting.clear()

    def _index(self) -> None:
        self._flush()
        if not self._indexed:
            self._indexed = True
            for name in ("serial", "print", "key_id"):
                self._database.do(f"CREATE INDEX of_{name} ON entry ({name})")

    def _entry(self, row: tuple[Any, ...]) -> CardSeed:
        number, serial, key_id, sealed, factor, algorithm, step_s, digits, *rest = row
        drift, valid_until, user = rest
        seed = Secret(self._cipher.decrypt(number.to_bytes(12, "big"), sealed, None))
        return CardSeed(
            serial, seed, factor, Generator(algorithm, step_s, digits),
            drift, valid_until, key_id, user,
        )  # fmt: skip
