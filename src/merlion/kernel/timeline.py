"""When each stage of boot and load was over, for the shell's `boot`."""

from bare import Array, Bytes, Struct, array, u64, usize
from merlion.kernel.clock import clock
from merlion.kernel.limits import TIMELINE_MAX


class Mark(Struct):
    """The end of one stage."""

    name: Bytes
    ticks: u64  # Since the first instruction: the clock's frequency is found out on the way.


class Timeline(Struct):
    """Marks in the order they were made; when full, later ones are dropped."""

    count: usize = 0
    marks: Array[Mark] = array(TIMELINE_MAX)

    def mark(self, name: Bytes) -> None:
        """Note that stage `name` is over."""
        if self.count == TIMELINE_MAX:
            return
        entry = self.marks[self.count]
        entry.name = name
        entry.ticks = clock.ticks()
        self.count += 1

    def has(self, name: Bytes) -> bool:
        """Whether there is such a mark."""
        for entry in self.marks[: self.count]:
            if entry.name == name:
                return True
        return False

    def mark_once(self, name: Bytes) -> None:
        """Note the first time that something happened."""
        if not self.has(name):
            self.mark(name)


timeline = Timeline.zeroed()
