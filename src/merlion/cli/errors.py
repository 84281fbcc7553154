"""Failures that are the user's to mend, or the machine's: one line what and where, one what to do.

Nothing else is caught: a traceback of `merlion` is a bug of `merlion`.
"""


class UserError(Exception):
    """Ends the command with exit status 1, without a traceback."""

    def __init__(self, what: str, fix: str = "") -> None:
        """`what` failed, with the file or value it is about; `fix` is what to do now."""
        super().__init__(what)
        self.what = what
        self.fix = fix
