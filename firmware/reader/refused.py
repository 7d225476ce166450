"""The one exception of the command handlers."""


class Refused(Exception):
    """A CTAP status other than success. Nothing was changed beyond what its handler says."""

    def __init__(self, status: int) -> None:
        self.status = status
