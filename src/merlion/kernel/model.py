"""The model: read from the disk, prepared (loading.py), run; unloaded as a whole.

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
from merlion.kernel.limits import LOAD_ROOM_BYTES, PROBE_BYTES, REQUESTS_MIN
from merlion.kernel.loading import loading
from merlion.kernel.memory.page_tables import HUGE_BYTES
from merlion.kernel.memory.paging import page_tables
from merlion.kernel.memory.ram import ANYWHERE, ram
from merlion.kernel.storage import byte_count, storage
from merlion.kernel.timeline import timeline
from merlion.kernel.worker import close_team, open_team

MEBIBYTE = 1 << 20


class Model(Struct):
    """Whether there is one, and how long its parts took."""

    file: Slice[u8]
    loaded: bool = False
    read_ns: u64 = 0
    later_ns: u64 = 0  # From the last byte until the model could be used.

    def load(self) -> bool:
        """Load the model on the disk, telling the console how it goes. False if it cannot be."""
        if self.loaded:
            console.line(b"a model is loaded already: ai-unload first")
            return False
        disk = storage.disk
        if disk is None:
            console.line(b"no disk: start with -drive, or merlion run MODEL")
            return False
        if not self.find_file(disk) or not self.prepare(disk):
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

    def find_file(self, disk: Disk) -> bool:
        """See whether the disk holds a model, and make room for it in huge pages."""
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
        return True

    def prepare(self, disk: Disk) -> bool:
        """Read the file, repack the weights, make room for requests."""
        size = ram.largest(HUGE_BYTES)
        if size < LOAD_ROOM_BYTES:
            return fail(b"not enough memory beside the file: give the machine more", b"")
        address = ram.take(size, HUGE_BYTES, ANYWHERE)
        arena = room.arena
        arena.storage = slice_at(u8, address, usize(size))
        arena.used = 0
        arena.sealed = False
        settings = EngineConfig(
            context=config.context,
            sequences=config.parallel,
            threads=smp.cores.count,
        )
        open_team()
        error = loading.run(disk, self.file, arena, settings)
        if isinstance(error, DiskError):
            console.out.byte(0x0A)
            return fail(b"disk: ", DISK_ERROR_TEXT[error])
        if isinstance(error, LoadError):
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
        self.read_ns = loading.read_ns
        self.later_ns = now_ns() - loading.start_ns - loading.read_ns
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
        out.text(b" MB/s; ready ")
        out.unsigned(self.later_ns // 1_000_000)
        console.line(b" ms later")
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
