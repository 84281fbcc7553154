"""The threads that compute one forward pass together.

Member 0 is the leader: it fills the batch, calls `run` and samples. The others call `help` with
their index, over and over; it takes part in passes as they are started and returns when it has
polled `spin_limit` times in vain, so that the caller may sleep. Before sleeping for good a caller
asks `is_wanted`; a pass started meanwhile waits for every member at its first barrier.

A team of one needs no helper and never waits.
"""

from bare import Arena, Array, Slice, Struct, array, u8, u32, usize, wrap
from bare.atomic import Atomic
from bare.cpu import pause
from merlion.engine.llama import Llama

LINE_PADDING = 60  # To the end of a 64-byte cache line after a u32.


class Member(Struct):
    """What one helper knows; on a line of its own."""

    seen: u32  # The last pass it took part in.
    padding: Array[u8] = array(LINE_PADDING)


class Team(Struct):
    """A model and the threads that run it."""

    started: Atomic[u32]  # Passes started; free-running.
    started_padding: Array[u8] = array(LINE_PADDING)
    members: Slice[Member]
    llama: Llama

    def init(self, arena: Arena, members_max: usize) -> None:
        """A team of one, with room for `members_max`."""
        self.members = arena.slice(Member, members_max)
        self.llama.barrier.members = 1

    def start(self, count: usize) -> None:
        """Set the number of members. Called while nothing runs and before any `help`."""
        assert 0 < count <= len(self.members), "EngineConfig.thread_count bounds the team"
        started = self.started.load()
        for index in range(count):
            self.members[index].seen = started
        self.llama.barrier.members = count

    def run(self) -> None:
        """Leader: compute the batch with all members."""
        if self.llama.barrier.members > 1:
            self.started.store(wrap(u32, self.started.load() + 1))
        self.llama.forward(0)

    def is_wanted(self, index: usize) -> bool:
        """Whether a pass has started that helper `index` has not yet joined."""
        return self.started.load() != self.members[index].seen

    def help(self, index: usize, spin_limit: u32) -> None:
        """Helper `index` (1 and up): join passes until `spin_limit` polls in a row found none."""
        assert 0 < index < self.llama.barrier.members
        idle: u32 = 0
        while idle < spin_limit:
            if self.is_wanted(index):
                # One pass at a time: the leader cannot start the next before this one ends.
                self.members[index].seen = wrap(u32, self.members[index].seen + 1)
                self.llama.forward(index)
                idle = 0
            else:
                pause()
                idle += 1
