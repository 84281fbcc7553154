"""Starting the other cores, and their life: compute, spin a while, halt until woken.

A core is a worker with a fixed number; the boot core is number 0. Workers run with interrupts
off; the only interrupt they ever take is the wake-up, in `wait_for_wake`. No wake-up is lost:
a worker says "asleep" before it looks at `computing` for the last time, the boot core sets
`computing` before it looks at who is asleep, both with a full barrier between.
"""

from bare import Array, Atomic, Struct, array, export, u8, u32, u64, usize
from bare.cpu import pause
from bare.unsafe import slice_at, symbol_address
from merlion.kernel.arch.x86_64 import descriptors
from merlion.kernel.arch.x86_64.apic import COMMAND_INIT, COMMAND_STARTUP, apic
from merlion.kernel.arch.x86_64.features import enable_vector_state
from merlion.kernel.arch.x86_64.stubs import wait_for_wake
from merlion.kernel.arch.x86_64.trampoline import TRAMPOLINE
from merlion.kernel.clock import deadline_ns, now_ns, wait_us
from merlion.kernel.limits import CORE_START_MS, CPU_MAX, IDLE_SPINS, STACK_BYTES, YIELD_TICKS
from merlion.kernel.memory.page_tables import BELOW_4G, PAGE_BYTES
from merlion.kernel.memory.paging import activate, page_tables, protect_stack
from merlion.kernel.memory.ram import Ram
from merlion.kernel.worker import work

INIT_WAIT_US = 10_000  # SDM volume 3, section 9.4.4.1; a hypervisor needs none.
STARTUP_RETRY_MS = 20


class Cores(Struct):
    """State shared by all cores. `asleep` and `online` are written by their core only."""

    computing: Atomic[u32]
    count: u32 = 1  # Cores that run.
    pvm: bool = False
    apic_ids: Array[u32] = array(CPU_MAX)
    pvm_pages: Array[u64] = array(CPU_MAX)
    online: Array[Atomic[u32]] = array(CPU_MAX)
    asleep: Array[Atomic[u32]] = array(CPU_MAX)
    halts: Array[u64] = array(CPU_MAX)


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
    cores.apic_ids[0] = apic.id()
    cores.online[0].store(1)
    if pvm:
        cores.pvm_pages[0] = symbol_address("pvm_boot_page")


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
    cores.pvm_pages[index] = page
    cores.apic_ids[index] = apic_id
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
    while cores.online[index].load() == 0:
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
    core = usize(index)
    descriptors.load(core)
    enable_vector_state()
    apic.enable()
    cores.online[core].store(1)
    while True:
        work(u32(core), IDLE_SPINS)
        if cores.computing.load() == 0:
            sleep(core)


def sleep(core: usize) -> None:
    """Halt worker `core` until it is woken, unless there is work by now."""
    cores.asleep[core].exchange(1)
    if cores.computing.load() == 0:
        cores.halts[core] += 1
        wait_for_wake(cores.pvm_pages[core])
    cores.asleep[core].exchange(0)


def begin_computing() -> None:
    """Wake all workers and keep them awake until `end_computing`. Boot core only."""
    cores.computing.exchange(1)
    for index in range(1, cores.count):
        if cores.asleep[index].load() != 0:
            apic.wake(cores.apic_ids[index])


def end_computing() -> None:
    """Let idle workers halt again."""
    cores.computing.store(0)


def nap(ticks: u32) -> None:
    """Halt the boot core for that many ticks of its timer, or until another interrupt."""
    apic.start_timer(ticks)
    wait_for_wake(cores.pvm_pages[0])


@export("bare_yield")
def yield_core() -> None:
    """Halt this core for a moment: what `bare.cpu.yield_core` is in the image.

    A core that waits for another one spins. Where the host has taken that other core away, or
    where QEMU itself waits for a core, spinning only prolongs the wait.
    """
    own = apic.id()
    for index in range(cores.count):
        if cores.apic_ids[index] == own:
            apic.start_timer(YIELD_TICKS)
            wait_for_wake(cores.pvm_pages[index])
            return
