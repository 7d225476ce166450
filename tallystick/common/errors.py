"""One error shape for everything a person reads: what happened, what was kept, what to do next."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit status of `tally`. The values are public: scripts depend on them."""

    OK = 0
    FAILED = 1
    USAGE = 2  # click's own value
    BAD_INPUT = 3
    NO_DEVICE = 4
    REFUSED = 5
    UNREACHABLE = 6
    INTERRUPTED = 130

    @property
    def meaning(self) -> str:
        """What it says, for a person."""
        return _MEANINGS[self]


_MEANINGS = {
    ExitCode.OK: "the work is done",
    ExitCode.FAILED: "the work ran and did not succeed: a violation found, a code refused",
    ExitCode.USAGE: "the command line is wrong",
    ExitCode.BAD_INPUT: "a file, image, container or value is not acceptable",
    ExitCode.NO_DEVICE: "no card or reader answered, or it went away",
    ExitCode.REFUSED: "a device or server said no: keys, policy, life cycle, duplicate",
    ExitCode.UNREACHABLE: "a server could not be reached",
    ExitCode.INTERRUPTED: "stopped by the user",
}


class TallyError(Exception):
    """An error meant for a person. Never put a secret in any of its parts.

    what: what happened, to which thing. kept: what is safe or unchanged. todo: what to do next.
    """

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(self, what: str, *, kept: str = "", todo: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.kept = kept
        self.todo = todo

    def __str__(self) -> str:
        return " ".join(part for part in (self.what, self.kept, self.todo) if part)

    def as_dict(self) -> dict[str, str | int]:
        """The error as `--json` prints it."""
        return {
            "error": type(self).__name__,
            "what": self.what,
            "kept": self.kept,
            "todo": self.todo,
            "exit_code": int(self.exit_code),
        }


class BadInputError(TallyError):
    """A file, image, container or value is not acceptable."""

    exit_code = ExitCode.BAD_INPUT


class NoDeviceError(TallyError):
    """No device answered, or it went away."""

    exit_code = ExitCode.NO_DEVICE


class RefusedError(TallyError):
    """A device or a server refused."""

    exit_code = ExitCode.REFUSED


class UnreachableError(TallyError):
    """A server could not be reached."""

    exit_code = ExitCode.UNREACHABLE
