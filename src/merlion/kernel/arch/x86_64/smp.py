"""Starting the other cores, and their life: compute, poll, halt while nobody needs them.

A core is a worker with a fixed number; the boot core is number 0. Workers run with interrupts
off; the only interrupt they ever take is the wake-up, in `wait_for_wake`. No wake-up is lost:
a worker says "asleep" before it looks at `computing` for the last time, the boot core sets
`computing` before it looks at who is asleep, both with a full barrier between.

On each core gs points to its `Core` (IA32_GS_BASE, SDM volume 3, section 3.4.4.1).
"""

from bare import Array, Atomic, Struct, array, export, u8, u32, u64, usize
from bare.cpu import pause, wrmsr
from bare.unsafe import address_of, slice_at, struct_at, symbol_address
from merlion.kernel.arch.x86_64 import descriptors
from merlion.kernel.arch.x86_64.apic import COMMAND_INIT, COMMAND_STARTUP, apic
from merlion.kernel.arch.x86_64.features import enable_vector_state
from merlion.kernel.arch.x86_64.stubs import this_core, wait_for_wake
from merlion.kernel.arch.x86_64.trampoline import TRAMPOLINE
from merlion.kernel.clock import deadline_ns, now_ns, wait_us
from merlion.kernel.limits import CORE_START_MS, CPU_MAX, IDLE_SPINS, STACK_BYTES, YIELD_TICKS
from merlion.kernel.memory.page_tables import BELOW_4G, PAGE_BYTES
from merlion.kernel.memory.paging import activate, page_tables, protect_stack
from merlion.kernel.memory.ram import Ram
from merlion.kernel.patience import Patience
from merlion.kernel.worker import computed, in_pass, work

INIT_WAIT_US = 10_000  # SDM volume 3, section 9.4.4.1; a hypervisor needs none.
STARTUP_RETRY_MS = 20
GS_BASE_MSR = 0xC000_0101


class Core(Struct):
    """What one core owns, and nobody else writes once it runs. stubs.py knows the first two."""

    address: u64  # Of this struct.
    interrupts: u64
    idle_interrupts: u64  # Of them, those that ended a sleep while nothing was computed.
    number: u64
    apic_id: u32
    pvm_page: u64
    online: Atomic[u32]
    asleep: Atomic[u32]
    sleeps: u64  # Until woken, for want of work.
    naps: u64  # For a moment, while waiting for another core.
    patience: Patience

    def settle(self) -> None:
        """Let gs point here. Run by the core itself."""
        self.address = address_of(self)
        wrmsr(GS_BASE_MSR, self.address)

    def halt_idle(self) -> None:
        """Halt until an interrupt, and count it as one that disturbs nobody."""
        before = self.interrupts
        wait_for_wake(self.pvm_page)
        self.idle_interrupts += self.interrupts - before


class Cores(Struct):
    """State shared by all cores."""

    computing: Atomic[u32]
    count: u32 = 1  # Cores that run.
    pvm: bool = False
    all: Array[Core] = array(CPU_MAX)


cores = Cores.zeroed()


def set_word(name_address: u64, value: u64) -> None:
    """Set one of the trampoline's words."""
    slice_at(u64, name_address, 1)[0] = value


def copy_trampoline() -> None:
    """Put the real-mode code where a start-up interrupt can point."""
    start = symbol_address("trampoline_start")
    byte_count = usize(symbol_address("trampoline_end") - start)
    slice_at(u8, TRAMPOLINE, byte_count).copy_from(slice_at(u8, start, byte_count))


def init(pvm: bool) -> None:
    """Set up the boot core's part. Its private page was made in boot/pvh.py."""
    cores.pvm = pvm
    boot_core = cores.all[0]
    boot_core.settle()
    boot_core.apic_id = apic.id()
    boot_core.online.store(1)
    if pvm:
        boot_core.pvm_page = symbol_address("pvm_boot_page")


def start_core(apic_id: u32, ram: Ram, virtual: bool) -> bool:
    """Start one core as number `cores.count`. Returns False when it does not report itself."""
    index = usize(cores.count)
    stack = ram.take(STACK_BYTES + PAGE_BYTES, PAGE_BYTES, BELOW_4G)
    if stack == 0:
        return False
    protect_stack(stack)
    activate()
    page: u64 = 0
    if cores.pvm:
        page = ram.take(PAGE_BYTES, PAGE_BYTES, BELOW_4G)
        if page == 0:
            return False
        slice_at(u8, page, PAGE_BYTES).fill(0)
    core = cores.all[index]
    core.number = index
    core.pvm_page = page
    core.apic_id = apic_id
    set_word(symbol_address("ap_pvm_page"), page)
    set_word(symbol_address("ap_page_tables"), page_tables.root())
    set_word(symbol_address("ap_stack_top"), stack + PAGE_BYTES + STACK_BYTES)
    set_word(symbol_address("ap_index"), index)

    apic.send(apic_id, COMMAND_INIT)
    if not virtual:
        wait_us(INIT_WAIT_US)
    apic.send(apic_id, COMMAND_STARTUP | TRAMPOLINE >> 12)
    retry = deadline_ns(STARTUP_RETRY_MS)
    deadline = deadline_ns(CORE_START_MS)
    retried = False
    while core.online.load() == 0:
        now = now_ns()
        if now > deadline:
            return False
        if now > retry and not retried:
            retried = True
            apic.send(apic_id, COMMAND_STARTUP | TRAMPOLINE >> 12)
        pause()
    cores.count += 1
    return True


@export("ap_main")
def ap_main(index: u64) -> None:
    """Run worker `index` for ever. Called by trampoline.py on its own stack."""
    core = cores.all[usize(index)]
    core.settle()
    descriptors.load(usize(index))
    enable_vector_state()
    apic.enable()
    core.online.store(1)
    while True:
        work(u32(index), IDLE_SPINS)
        if cores.computing.load() == 0:
            sleep(core)


def sleep(core: Core) -> None:
    """Halt a worker until it is woken, unless there is work by now."""
    core.asleep.exchange(1)
    if cores.computing.load() == 0:
        core.sleeps += 1
        core.halt_idle()
    core.asleep.exchange(0)


def begin_computing() -> None:
    """Wake all workers and keep them awake until `end_computing`. Boot core only."""
    cores.computing.exchange(1)
    for core in cores.all[1 : cores.count]:
        if core.asleep.load() != 0:
            apic.wake(core.apic_id)


def end_computing() -> None:
    """Let idle workers halt again."""
    cores.computing.store(0)


def nap(ticks: u32) -> None:
    """Halt the boot core for that many ticks of its timer, or until another interrupt."""
    apic.start_timer(ticks)
    cores.all[0].halt_idle()


@export("bare_yield")
def yield_core() -> None:
    """Wait for another core: what `bare.cpu.yield_core` is in the image.

    Polls for as long as its patience lasts, then halts for a moment (patience.py).
    """
    core = struct_at(Core, this_core())
    if core.patience.lasts(now_ns(), computed(core.number), in_pass()):
        pause()
        return
    core.naps += 1
    apic.start_timer(YIELD_TICKS)
    wait_for_wake(core.pvm_page)


def interrupts() -> u64:
    """Return how many interrupts all cores have taken since boot."""
    total: u64 = 0
    for core in cores.all[: cores.count]:
        total += core.interrupts
    return total


def interrupts_at_work() -> u64:
    """Return how many of them came while something was computed."""
    total: u64 = 0
    for core in cores.all[: cores.count]:
        total += core.interrupts - core.idle_interrupts
    return total
