"""The model: read from the disk, repacked, run; unloaded as a whole.

Between `load` and `unload` all memory that boot left belongs to it: the file (the embedding
table is read in place), and one arena for weights, cache and scratch.
"""

from bare import Bytes, Slice, Struct, u8, u64, usize
from bare.text import Writer
from bare.unsafe import slice_at
from merlion.engine.chat_template import CHAT_TEMPLATE_MESSAGES
from merlion.engine.engine import EngineConfig, LoadError, LoadStage
from merlion.engine.gguf import MAGIC
from merlion.kernel.arch.x86_64 import smp
from merlion.kernel.clock import now_ns
from merlion.kernel.config import config
from merlion.kernel.console import console
from merlion.kernel.disk import DISK_ERROR_TEXT, Disk, DiskError
from merlion.kernel.inference import NO_MODEL, backend, engine, room, scheduler
from merlion.kernel.limits import (
    DISK_NAP_TICKS,
    LOAD_ROOM_BYTES,
    PROBE_BYTES,
    PROGRESS_NS,
    REQUESTS_MIN,
)
from merlion.kernel.log import log
from merlion.kernel.memory.page_tables import HUGE_BYTES
from merlion.kernel.memory.paging import page_tables
from merlion.kernel.memory.ram import ANYWHERE, ram
from merlion.kernel.network import network
from merlion.kernel.screen import screen
from merlion.kernel.serving import serving
from merlion.kernel.storage import byte_count, done_bytes, read_error, storage
from merlion.kernel.timeline import timeline
from merlion.kernel.worker import close_team, open_team

MEBIBYTE = 1 << 20


class Model(Struct):
    """Whether there is one, and how long its parts took."""

    file: Slice[u8]
    loaded: bool = False
    read_ns: u64 = 0
    prepare_ns: u64 = 0

    def load(self) -> bool:
        """Load the model on the disk, telling the console how it goes. False if it cannot be."""
        if self.loaded:
            console.line(b"a model is loaded already: ai-unload first")
            return False
        disk = storage.disk
        if disk is None:
            console.line(b"no disk: start with -drive, or merlion run MODEL")
            return False
        if not self.read_file(disk) or not self.prepare():
            self.forget()
            return False
        self.loaded = True
        self.report()
        return True

    def ready(self) -> bool:
        """Whether there is a model, after loading the one on the disk where that is to do."""
        return self.loaded or self.load()

    def unload(self) -> None:
        """Give all its memory back. No request may be running."""
        self.loaded = False
        self.forget()

    def forget(self) -> None:
        """Give back the memory, once no worker can look at it; nothing may point there any more."""
        close_team()
        backend.engine = None
        backend.scheduler = None
        backend.knows_template = False
        backend.model = NO_MODEL
        backend.prompt = backend.prompt[:0]
        backend.prompt_count = 0
        self.file = self.file[:0]
        room.arena.sealed = False
        ram.reset()

    def read_file(self, disk: Disk) -> bool:
        """Read the whole disk into huge pages."""
        size = usize(byte_count(disk))
        if size < PROBE_BYTES:
            return fail(b"the disk is too small to hold a GGUF file", b"")
        address = ram.take(PROBE_BYTES, HUGE_BYTES, ANYWHERE)
        if address == 0:
            return fail(b"not enough memory to look at the disk: give the machine more", b"")
        probe = slice_at(u8, address, PROBE_BYTES)
        error = disk.read(0, probe)
        if error is not None:
            return fail(b"disk: ", DISK_ERROR_TEXT[error])
        if probe[: len(MAGIC)] != MAGIC:
            return fail(b"the disk holds no GGUF file", b"")
        ram.reset()
        address = ram.take(size, HUGE_BYTES, ANYWHERE)
        if address == 0:
            return fail(b"not enough memory for the file: give the machine more", b"")
        self.file = slice_at(u8, address, size)
        start = now_ns()
        error = disk.start_read(0, self.file)
        if error is None:
            error = wait_for_disk(disk, size)
        self.read_ns = max(now_ns() - start, 1)
        timeline.mark(b"model read")
        if error is not None:
            console.out.byte(0x0A)
            return fail(b"disk: ", DISK_ERROR_TEXT[error])
        return True

    def prepare(self) -> bool:
        """Parse the file, repack the weights, make room for requests."""
        size = ram.largest(HUGE_BYTES)
        if size < LOAD_ROOM_BYTES:
            return fail(b"not enough memory beside the file: give the machine more", b"")
        address = ram.take(size, HUGE_BYTES, ANYWHERE)
        arena = room.arena
        arena.storage = slice_at(u8, address, usize(size))
        arena.used = 0
        arena.sealed = False
        start = now_ns()
        settings = EngineConfig(
            context=config.context,
            sequences=config.parallel,
            threads=smp.cores.count,
        )
        open_team()
        smp.begin_computing()
        error = engine.load(self.file, arena, settings)
        smp.end_computing()
        if error is not None:
            return fail_load(error)
        if not scheduler.init(engine, arena, max(REQUESTS_MIN, 2 * config.parallel)):
            return fail(b"not enough memory for the requests: lower ctx= or parallel=", b"")
        chat = backend.attach(engine, scheduler, arena)
        if chat is not None:
            console.write(CHAT_TEMPLATE_MESSAGES[chat])
            console.line(b": ai completes the text as it stands")
        arena.seal()
        room.used_by_load = arena.used
        kept = (u64(arena.used) + HUGE_BYTES - 1) // HUGE_BYTES * HUGE_BYTES
        ram.shrink(address, size, kept)
        self.prepare_ns = max(now_ns() - start, 1)
        timeline.mark(b"model ready")
        return True

    def report(self) -> None:
        """Say what was loaded, how fast, and where the memory went."""
        out = console.out
        out.text(b"model ")
        write_plain(out, backend.model_name())
        out.text(b" from disk0: ")
        out.unsigned(len(self.file) // MEBIBYTE)
        out.text(b" MiB in ")
        out.unsigned(self.read_ns // 1_000_000)
        out.text(b" ms, ")
        out.unsigned(len(self.file) * 1000 // self.read_ns)
        out.text(b" MB/s; prepared in ")
        out.unsigned(self.prepare_ns // 1_000_000)
        console.line(b" ms")
        out.text(b"memory, in ")
        out.text(b"4 KiB" if page_tables.level_max == 0 else b"2 MiB or larger")
        out.text(b" pages: ")
        show_memory()


model = Model.zeroed()


def show_memory() -> None:
    """Where the model's memory went, to the end of the line."""
    out = console.out
    out.text(b"weights ")
    out.unsigned(engine.weights_bytes // MEBIBYTE)
    out.text(b" MiB, KV cache ")
    out.unsigned(engine.kv_bytes // MEBIBYTE)
    out.text(b" MiB, scratch ")
    out.unsigned(engine.workspace_bytes // MEBIBYTE)
    console.line(b" MiB")


def wait_for_disk(disk: Disk, size: usize) -> DiskError | None:
    """Wait for a large read. Clients are told meanwhile that the model is loading (503).

    Between two looks the core halts: the host needs the processor to read.
    """
    log.over_prompt = True
    next_ns = now_ns() + PROGRESS_NS
    shown = False
    before: usize = 0
    while disk.poll_read():
        now = now_ns()
        active = network.poll(now)
        active = serving.poll(now) or active
        active = screen.poll() or active
        done = done_bytes(disk)
        if now >= next_ns:
            next_ns = now + PROGRESS_NS
            shown = True
            show_progress(done, size)
        if done == before and not active:
            smp.nap(DISK_NAP_TICKS)
        before = done
    if shown:
        console.write(b"\r\x1b[K")
    return read_error(disk)


def show_progress(done: usize, size: usize) -> None:
    """Say how much has been read, on the same line again."""
    console.write(b"\rreading ")
    console.out.unsigned(done // MEBIBYTE)
    console.write(b" of ")
    console.out.unsigned(size // MEBIBYTE)
    console.write(b" MiB")
    console.flush()


def write_plain(out: Writer, text: Bytes) -> None:
    """Write what a file calls something, without the bytes that command a terminal."""
    for byte in text:
        if byte >= 0x20 and byte != 0x7F:
            out.byte(byte)


def fail(message: Bytes, detail: Bytes) -> bool:
    """Say why loading failed. Always False."""
    console.write(message)
    console.line(detail)
    return False


def fail_load(error: LoadError) -> bool:
    """Say what the engine does not like about the file. Always False."""
    console.write(b"cannot load: ")
    console.write(error.message)
    if len(error.subject) > 0:
        console.write(b": ")
        write_plain(console.out, error.subject)
    if len(error.type) > 0:
        console.write(b" is ")
        write_plain(console.out, error.type)
    if error.needed > 0:
        console.write(b": ")
        console.out.unsigned((error.needed + MEBIBYTE - 1) // MEBIBYTE)
        console.write(b" MiB needed; give the machine more")
    if error.stage == LoadStage.CACHE:
        console.write(b", or lower ctx= or parallel=")
    console.line(b"")
    return False


def step(now: u64) -> bool:
    """Compute one forward pass, with all cores awake. False when there was nothing to do.

    The cores stay awake for IDLE_NS (main.py): another request may follow.
    """
    if not model.loaded or not scheduler.has_work():
        return False
    smp.begin_computing()
    worked = scheduler.step(now)
    scheduler.stamp(now_ns())
    return worked
