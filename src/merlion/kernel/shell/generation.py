"""`ai TEXT`: one answer of the model, streamed to the console."""

from bare import Struct, u64


class Generation(Struct):
    """The answer in progress."""

    active: bool = False

    def poll(self, now_ns: u64) -> bool:
        """Show new text. Returns True when the answer is complete."""
        return not self.active

    def cancel(self) -> None:
        """Stop the answer."""
        self.active = False


generation = Generation()
