"""The card's memory, kept in RAM, with the interface of card/store.py. It records every commit."""

from lib import hotp

_FIELDS = ("keys", "kvn", "life_cycle", "name", "seed", "digits", "moving_factor", "presses")


class Store:
    def __init__(self, **fields):
        self.serial = b"TS00000001"
        self.life_cycle = 0x01
        self.kvn = 0xFF
        self.keys = bytes(range(0x40, 0x50)) * 3
        self.name = self.seed = b""
        self.digits = 6
        self.moving_factor = self.presses = 0
        self.cold_starts = 3
        self.broken = False
        self.commits = []
        for name, value in fields.items():
            setattr(self, name, value)

    def commit(self, **changes):
        if self.broken:
            raise OSError(5)
        for name, value in changes.items():
            assert name in _FIELDS
            assert isinstance(value, (int, bytes))
            setattr(self, name, value)
        self.commits.append(sorted(changes))

    def take_code(self):
        moving_factor = self._move()
        return hotp.code(self.seed, moving_factor, self.digits)

    def take_hmac(self):
        return hotp.full(self.seed, self._move())

    def wear(self):
        return 17, 1

    def _move(self):
        moving_factor = self.moving_factor
        self.commit(moving_factor=moving_factor + 1, presses=self.presses + 1)
        return moving_factor
