"""Failures of the machine or the file, as opposed to bugs."""


class HostedError(Exception):
    """What failed, and what can be done about it."""

    def __init__(self, what: str, fix: str = "") -> None:
        """Both are shown to the user."""
        super().__init__(what)
        self.what = what
        self.fix = fix
