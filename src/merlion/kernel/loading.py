"""A model on its way from the disk: what has arrived is prepared while the rest is read.

The boot core does three things in turn: it asks the disk for more, prepares a little of what is
there, and serves everybody else (clients are told that the model is loading, 503). When it has
nothing to prepare it halts, and so do the workers: on many a host the processor is what reads.
"""

from bare import Arena, Slice, Struct, u8, u64, usize
from merlion.engine.engine import EngineConfig, LoadError, LoadStage
from merlion.kernel.arch.x86_64 import smp
from merlion.kernel.clock import now_ns
from merlion.kernel.console import console
from merlion.kernel.disk import Disk, DiskError
from merlion.kernel.inference import engine
from merlion.kernel.limits import (
    DISK_NAP_TICKS,
    FILL_BYTES,
    FILL_BYTES_MIN,
    HEADER_LOOK_BYTES,
    PROGRESS_NS,
    SERVE_NS,
)
from merlion.kernel.log import log
from merlion.kernel.network import network
from merlion.kernel.screen import screen
from merlion.kernel.serving import serving
from merlion.kernel.storage import done_bytes, front_bytes, read_error
from merlion.kernel.timeline import timeline

MEBIBYTE = 1 << 20


class Loading(Struct):
    """One load."""

    opened: bool
    over: bool  # Nothing more comes from the disk.
    wanted: usize  # Look again when so much has arrived.
    start_ns: u64
    read_ns: u64  # Until the last byte came.
    serve_ns: u64  # When the others are served next.
    progress_ns: u64  # When to show how far it is.
    shown: bool
    seen: usize  # Bytes that were there at the last look, in any order.

    def run(
        self, disk: Disk, file: Slice[u8], arena: Arena, config: EngineConfig
    ) -> DiskError | LoadError | None:
        """Read the whole file and prepare the engine. When it returns, the disk owns nothing."""
        self.opened = False
        self.over = False
        self.shown = False
        self.wanted = HEADER_LOOK_BYTES
        self.seen = 0
        self.read_ns = 0
        self.serve_ns = 0
        self.start_ns = now_ns()
        self.progress_ns = self.start_ns + PROGRESS_NS
        log.over_prompt = True
        failure = disk.start_read(0, file)
        if failure is not None:
            return failure
        refused = self.prepare(disk, file, arena, config)
        smp.end_computing()
        if refused is not None:
            disk.stop_read()
            while disk.poll_read():
                self.wait(disk, len(file))
        if self.shown:
            console.write(b"\r\x1b[K")
        if refused is None and read_error(disk) is None:
            engine.finish()
        return read_error(disk) if refused is None else refused

    def prepare(
        self, disk: Disk, file: Slice[u8], arena: Arena, config: EngineConfig
    ) -> LoadError | None:
        """Prepare what arrives until nothing is left to do, or the disk has failed."""
        before = arena.used
        while True:
            self.over = not disk.poll_read()
            if self.over:
                if read_error(disk) is not None:
                    self.end_job()
                    return None
                self.note_end()
            arrived = front_bytes(disk)
            if arrived < self.wanted and not self.over:
                self.wait(disk, len(file))
            elif not self.opened:
                arena.reset(before)
                error = engine.open(file, arrived, arena, config)
                if error is not None and error.stage != LoadStage.WAITING:
                    return error
                self.note_open(arrived, error is None)
            else:
                if not self.fill(arrived) and self.over:
                    return None
                if now_ns() >= self.serve_ns:
                    self.serve(disk, len(file))

    def end_job(self) -> None:
        """Let the job under way end, if there is one: its memory is about to go."""
        while self.opened and engine.fill(0, FILL_BYTES):
            pass

    def note_open(self, arrived: usize, opened: bool) -> None:
        """Note how it went with the header: fill the engine, or look again at twice as much."""
        self.opened = opened
        self.wanted = 0 if opened else 2 * arrived
        if opened:
            timeline.mark(b"header read")

    def fill(self, arrived: usize) -> bool:
        """Repack a little of what has arrived, all cores awake. False: there is nothing."""
        smp.begin_computing()
        if engine.fill(arrived, FILL_BYTES):
            return True
        smp.end_computing()
        self.wanted = arrived + FILL_BYTES_MIN
        return False

    def note_end(self) -> None:
        """Note that the last byte has come."""
        if self.read_ns == 0:
            self.read_ns = max(now_ns() - self.start_ns, 1)
            timeline.mark(b"model read")

    def wait(self, disk: Disk, size: usize) -> None:
        """One turn without anything to prepare."""
        before = self.seen
        active = self.serve(disk, size)
        if self.seen == before and not active:
            smp.nap(DISK_NAP_TICKS)

    def serve(self, disk: Disk, size: usize) -> bool:
        """One turn for everybody else. False when nobody wanted anything."""
        now = now_ns()
        active = network.poll(now)
        active = serving.poll(now) or active
        active = screen.poll() or active
        self.seen = done_bytes(disk)
        self.serve_ns = now + SERVE_NS
        if now >= self.progress_ns:
            self.progress_ns = now + PROGRESS_NS
            self.shown = True
            show_progress(self.seen, size)
        return active


def show_progress(done: usize, size: usize) -> None:
    """Say how much has been read, on the same line again."""
    console.write(b"\rreading ")
    console.out.unsigned(done // MEBIBYTE)
    console.write(b" of ")
    console.out.unsigned(size // MEBIBYTE)
    console.write(b" MiB")
    console.flush()


loading = Loading.zeroed()
