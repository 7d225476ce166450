"""What a host and a person know of a reader. Values: a copy is a point to go back to."""

from __future__ import annotations

from dataclasses import dataclass, replace

PIN_TRIES, PIN_TRIES_IN_A_ROW, FINGER_TRIES = 8, 3, 5  # 6.5.2.2, 6.5.2.3: at most 8; 6.5.5.7
CHANNELS = "AB"

# Permissions of a token, 6.5.5.7.
MC, GA, CM, BE, LBW, ACFG = 1, 2, 4, 8, 16, 32
ALL = MC | GA | CM | BE | LBW | ACFG
PCMR = 64  # CTAP 2.2, 6.5.5.7

_S = 1_000_000  # µs
FIRST_USE_US = 30 * _S  # 6.5.5.7: initial usage time limit
LONGEST_USE_US = 600 * _S  # max usage time period
PRESENT_US = 30 * _S  # user present time limit
SEQUENCE_US = 30 * _S  # 6.3 step 3
RESET_US = 10 * _S  # 6.6


@dataclass(frozen=True)
class KnownToken:
    """Times in µs. present: the user was there when it was made, and it has not been used up."""

    number: int
    value: bytes
    permissions: int
    party: str | None
    present: bool
    issued: int
    used: bool = False

    def alive(self, now: int) -> bool:
        age = now - self.issued
        return age < (LONGEST_USE_US if self.used else FIRST_USE_US)


@dataclass(frozen=True)
class KnownCredential:
    """A resident one. protect: credProtect, 1 to 3."""

    party: str
    user: bytes
    name: str
    identifier: bytes
    public: tuple[bytes, ...]
    protect: int = 1
    blob_key: bytes = b""
    cred_blob: bytes = b""
    payment: bool = False
    secret: bytes = b""  # of hmac-secret, for a verified user, once it was told


@dataclass(frozen=True)
class KnownSequence:
    """What a command has begun. left: what is still to come, in order. token: number of the one
    that allowed it."""

    kind: str
    channel: str
    left: tuple[object, ...]
    token: int | None
    since: int
    flags: int = 0


@dataclass(frozen=True)
class KnownEnrolment:
    channel: str
    template: bytes
    finger: str
    samples: int


@dataclass(frozen=True)
class Known:
    """held: the token that the program on each channel has. lasting: the persistent one that was
    given, if `lasts` that of now. compared: fingers since the PIN was given. told: who may be told
    the least length of a PIN. sensor: its cable is plugged in. lying: a finger lies on the glass.
    powered: when power came (µs)."""

    powered: int = 0
    pin: str | None = None
    min_pin: int = 4
    force: bool = False
    always: bool = False
    pin_tries: int = PIN_TRIES
    in_a_row: int = 0
    finger_tries: int = FINGER_TRIES
    compared: int = 0
    told: tuple[str, ...] = ()
    lasting: bytes = b""
    lasts: bool = False
    device: bytes = b""  # its identifier, once it was told
    fingers: tuple[tuple[bytes, str, str], ...] = ()  # template, finger, name
    credentials: tuple[KnownCredential, ...] = ()  # oldest first
    deleted: tuple[KnownCredential, ...] = ()  # the last one that went, however
    blob: bytes = b""
    counter: int = 0
    token: KnownToken | None = None
    tokens: int = 0  # made so far
    held: tuple[KnownToken | None, ...] = (None, None)
    sequence: KnownSequence | None = None
    enrolment: KnownEnrolment | None = None
    sensor: bool = True
    lying: bool = False

    @property
    def protected(self) -> bool:
        """By some form of user verification (5, terminology)."""
        return self.pin is not None or bool(self.fingers)

    @property
    def verifies(self) -> bool:
        """A finger can verify the user now."""
        return bool(self.fingers) and self.sensor

    def alive(self, token: KnownToken | None, now: int) -> KnownToken | None:
        """The token in use, if it is this one and its time is not over."""
        mine = self.token
        if token is None or mine is None or mine.number != token.number or not mine.alive(now):
            return None
        return mine

    def without_power(self, now: int) -> Known:
        """After it went and came back."""
        return replace(
            self, powered=now, in_a_row=0, token=None, held=(None, None), sequence=None,
            enrolment=None,
        )  # fmt: skip

    def restarted(self) -> Known:
        """The firmware has started anew, and nobody pulled it out. Wrong PINs are in a row until
        somebody does (6.5.5.7.2); a firmware that has lost their number takes it for the highest.
        No reset: the 10 s are from when power came (6.6), which it cannot know any more."""
        in_a_row = PIN_TRIES_IN_A_ROW if self.pin_tries < PIN_TRIES else 0
        return replace(self.without_power(self.powered - 2 * RESET_US), in_a_row=in_a_row)

    def abstract(self) -> tuple[object, ...]:
        """What two ways have in common that end in the same state: no values drawn by chance, no
        times."""
        token = self.token
        sequence, enrolment = self.sequence, self.enrolment
        return (
            self.pin, self.min_pin, self.force, self.always, self.pin_tries, self.in_a_row,
            self.finger_tries, self.compared, self.told, bool(self.lasting), self.lasts,
            tuple(finger[1:] for finger in self.fingers),
            tuple(
                (one.party, one.user, one.name, one.protect, one.cred_blob, one.payment)
                for one in self.credentials
            ),
            self.blob,
            token and (token.permissions, token.party, token.present, token.used),
            tuple(
                one and token and one.number == token.number for one in self.held
            ),
            sequence and (sequence.kind, sequence.channel, len(sequence.left), sequence.flags),
            enrolment and (enrolment.channel, enrolment.finger, enrolment.samples),
            self.sensor, self.lying,
        )  # fmt: skip
