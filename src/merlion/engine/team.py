"""The threads that compute together: forward passes, and repacking while a model is loaded.

Member 0 is the leader: it fills the batch, calls `run` and samples. The others call `help` with
their index, over and over; it takes part in what is computed and returns when it has polled
`spin_limit` times in vain, so that the caller may sleep. Helping is never required and may begin
and end at any time: what a helper does not take, the others do (shares.py).

Who waits spins at first, then yields the core on every turn: a thread whose chunk is waited for may
need the very core.
"""

from enum import IntEnum

from bare import Arena, Array, Slice, Struct, array, u8, u32, u64, usize
from bare.atomic import Atomic
from bare.cpu import pause, yield_core
from merlion.engine.llama import Llama
from merlion.engine.shares import NO_CHUNK, Shares, share

LINE_PADDING_4 = 60  # To the end of a 64-byte cache line after a u32.
STEAL_POLLS = 32  # Polls between looks at the queues of others.
SPIN_POLLS = 2_000  # About 50 us: polls before the core is yielded.
REPACK_CHUNKS_A_MEMBER = 32


class Job(IntEnum):
    """What the chunks of a phase are part of."""

    FORWARD = 0
    REPACK = 1


class Member(Struct):
    """What one thread has done, ever. Written by it alone."""

    chunks: u64
    steals: u64  # Chunks taken from another's queue.
    polls: u64  # Waiting turns.
    yields: u64  # Of them, those that gave the core away.
    padding: Array[u8] = array(32)


class Team(Struct):
    """A model and the threads that run it."""

    shares: Shares
    running: Atomic[u32]  # Nonzero while something is computed.
    running_padding: Array[u8] = array(LINE_PADDING_4)
    open: Atomic[u32]  # Nonzero: `init` is done, helpers may look.
    job: Job
    repack_groups: usize
    repack_chunks: usize
    repack_polls: u32  # Of the leader, in a row, in vain.
    passes: u64  # Forward passes.
    phases: u64  # Phases of all jobs.
    members: Slice[Member]
    llama: Llama

    def init(self, arena: Arena, members_max: usize) -> None:
        """A team of one, with room for `members_max`."""
        self.open.store(0)
        self.members = arena.slice(Member, members_max)
        self.shares.init(arena, members_max)
        self.running.store(0)
        self.open.store(1)

    def start(self, count: usize) -> None:
        """Set the number of members. Called while nothing runs."""
        assert 0 < count <= len(self.members), "EngineConfig.thread_count bounds the team"
        assert self.running.load() == 0, "between jobs"
        self.shares.members = count

    def close(self) -> None:
        """Turn helpers away: the memory of the model is about to go."""
        self.open.store(0)

    def run(self) -> None:
        """Leader: compute the batch with whoever helps."""
        self.llama.members = self.shares.members
        self.llama.begin()
        self.passes += 1
        self.dispatch(Job.FORWARD)

    def repack(self, arrived: usize, byte_count: usize) -> bool:
        """Leader: one chunk of bringing weights into the kernels' order, while others help.

        A job takes at least `byte_count` bytes of the file, or what there is: its first `arrived`
        bytes hold what they should. False: no job is under way, and there is nothing for a next.
        """
        if self.running.load() == 0:
            self.repack_groups = self.llama.model.filling.begin(arrived, byte_count)
            if self.repack_groups == 0:
                return False
            chunks = self.shares.members * REPACK_CHUNKS_A_MEMBER
            self.repack_chunks = min(self.repack_groups, chunks)
            self.repack_polls = 0
            self.begin(Job.REPACK)
        if self.work_once():
            self.repack_polls = 0
        else:
            self.wait(0, self.repack_polls)
            self.repack_polls = min(self.repack_polls + 1, 1 << 30)
        return True

    def begin(self, job: Job) -> None:
        """Leader: start a job."""
        self.job = job
        self.running.store(1)
        self.deal(True)

    def dispatch(self, job: Job) -> None:
        """Leader: start a job, take part, and return when it is done."""
        self.begin(job)
        polls: u32 = 0
        while self.running.load() != 0:
            if self.work(0, polls % STEAL_POLLS == 0):
                polls = 0
            else:
                self.wait(0, polls)
                polls = min(polls + 1, 1 << 30)

    def deal(self, first: bool) -> None:
        """Start the next phase of the job, or end the job."""
        chunks: usize = 0
        match self.job:
            case Job.FORWARD:
                if not first:
                    self.llama.leave_phase()
                chunks = self.llama.next_phase()
            case Job.REPACK:
                chunks = self.repack_chunks if first else 0
        if chunks == 0:
            self.running.store(0)
            return
        self.phases += 1
        self.shares.deal(chunks)

    def work(self, index: usize, may_steal: bool) -> bool:
        """Take and compute chunks while there are any. Returns whether there were."""
        done: u32 = 0
        worked = False
        while True:
            chunk = self.shares.take(index)
            if chunk == NO_CHUNK and done > 0:
                last = self.shares.report(done)
                done = 0
                if last:
                    self.deal(False)
                continue
            if chunk == NO_CHUNK:
                if not may_steal and not worked:
                    return False
                chunk = self.steal(index)
                if chunk == NO_CHUNK:
                    return worked
            self.compute(index, chunk)
            done += 1
            worked = True

    def work_once(self) -> bool:
        """Leader: take and compute one chunk. False: all have been taken."""
        chunk = self.shares.take(0)
        if chunk == NO_CHUNK:
            chunk = self.steal(0)
            if chunk == NO_CHUNK:
                return False
        self.compute(0, chunk)
        if self.shares.report(1):
            self.deal(False)
        return True

    def steal(self, index: usize) -> u32:
        """A chunk of another member, or NO_CHUNK."""
        chunk = self.shares.steal(index)
        if chunk != NO_CHUNK:
            self.members[index].steals += 1
        return chunk

    def compute(self, index: usize, chunk: usize) -> None:
        """One chunk of the job."""
        self.members[index].chunks += 1
        match self.job:
            case Job.FORWARD:
                self.llama.compute(index, chunk)
            case Job.REPACK:
                first, last = share(self.repack_groups, chunk, self.repack_chunks)
                self.llama.model.filling.repack(first, last)

    def wait(self, index: usize, polls: u32) -> None:
        """One waiting turn, after `polls` others in a row."""
        member = self.members[index]
        member.polls += 1
        if polls < SPIN_POLLS:
            pause()
        else:
            member.yields += 1
            yield_core()

    def help(self, index: usize, spin_limit: u32) -> None:
        """Helper `index` (1 and up): take part until `spin_limit` polls in a row were in vain."""
        assert index > 0, "member 0 leads"
        polls: u32 = 0
        while polls < spin_limit:
            if self.open.load() == 0:
                pause()
                polls += 1
            elif index < self.shares.members and self.work(index, polls % STEAL_POLLS == 0):
                polls = 0
            else:
                self.wait_open(index, polls)
                polls += 1

    def wait_open(self, index: usize, polls: u32) -> None:
        """A helper's waiting turn; one that is no member counts nothing."""
        if index < len(self.members):
            self.wait(index, polls)
        else:
            pause()
