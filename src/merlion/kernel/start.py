"""The stages of boot, called in order by main.py. Each leaves its subsystem ready and says so."""

from bare import Arena, Slice, u8, u32, u64, usize
from bare.unsafe import slice_at, symbol_address
from merlion.kernel.arch.x86_64 import descriptors, smp, tsc
from merlion.kernel.arch.x86_64.apic import apic, mask_pic
from merlion.kernel.arch.x86_64.features import (
    Leaf1,
    choose_level,
    enable_vector_state,
    features,
    level_text,
)
from merlion.kernel.boot.start_info import (
    COMMAND_LINE_MAX,
    MEMORY_MAP_ENTRY_BYTES,
    START_INFO_BYTES,
    START_INFO_MAGIC,
    StartInfo,
    boot_info,
)
from merlion.kernel.clock import clock, now_ns
from merlion.kernel.config import config
from merlion.kernel.disk import DISK_ERROR_TEXT, DiskError, find_disk
from merlion.kernel.drivers.uart import FIFO_BYTES
from merlion.kernel.hardware import hardware
from merlion.kernel.limits import BOOT_ARENA_BYTES, CPU_MAX
from merlion.kernel.log import log
from merlion.kernel.memory import paging
from merlion.kernel.memory.page_tables import BELOW_4G, HUGE_BYTES
from merlion.kernel.memory.ram import ram
from merlion.kernel.model import model
from merlion.kernel.network import CONNECTION_BYTES, connection_count, network
from merlion.kernel.nic import NIC_ERROR_TEXT, NicError, find_nic
from merlion.kernel.screen import screen, uart
from merlion.kernel.serving import serving
from merlion.kernel.storage import byte_count, storage
from merlion.kernel.symbols import symbols

MEGABYTE = 1 << 20
LOW_MEMORY = 1 << 32  # What the boot page tables reach.

boot_arena = Arena.zeroed()


def console(start_info: u64) -> None:
    """Copy what the loader left, read the command line, start the serial line and the log."""
    clock.start = slice_at(u64, symbol_address("boot_tsc"), 1)[0]
    uart.init()
    read_start_info(start_info)
    config.parse(boot_info.command())
    log.quiet = config.quiet
    line = log.begin()
    line.text(b"MerlionOS Inference: ")
    line.text(boot_info.command())
    log.end()
    screen.send(FIFO_BYTES)  # A sign of life; the rest is sent while waiting for the disk.
    for index in range(config.unknown_kept):
        wanted = config.wanted(usize(index))
        unknown = log.begin()
        unknown.text(b"command line: unknown word: " if len(wanted) == 0 else b"command line: ")
        unknown.text(config.unknown_word(usize(index)))
        unknown.text(b"" if len(wanted) == 0 else b" is not understood: ")
        unknown.text(wanted)
        log.end()
    if config.unknown_count > config.unknown_kept:
        more = log.begin()
        more.text(b"command line: unknown words beside these: ")
        more.unsigned(config.unknown_count - config.unknown_kept)
        log.end()


def read_start_info(address: u64) -> None:
    """Copy the PVH start_info at `address` into `boot_info`."""
    info = StartInfo.view(slice_at_u8(address, START_INFO_BYTES))
    if info is None or info.magic != START_INFO_MAGIC:
        return
    boot_info.rsdp = info.rsdp
    if info.command_line != 0 and info.command_line < LOW_MEMORY - COMMAND_LINE_MAX:
        boot_info.set_command_line(slice_at_u8(info.command_line, COMMAND_LINE_MAX))
    if info.version >= 1 and info.memory_map != 0 and info.memory_map < LOW_MEMORY:
        byte_count = usize(info.memory_map_count) * MEMORY_MAP_ENTRY_BYTES
        boot_info.add_map(slice_at_u8(info.memory_map, byte_count), info.memory_map_count)


def slice_at_u8(address: u64, byte_count: usize) -> Slice[u8]:
    """See bytes of physical memory."""
    return slice_at(u8, address, byte_count)


def exceptions() -> None:
    """Load descriptor tables, so that a fault ends in panic.py and not in a reset."""
    symbols.open()
    descriptors.init_shared()
    descriptors.load(0)
    if config.pvm:
        return  # There is no 8259, and a port access costs 25 µs.
    mask_pic()


def processor() -> None:
    """Find out what the CPU is; switch on its vector state; calibrate the clock."""
    features.detect()
    enable_vector_state()
    choose_level(config.simd)
    calibration = tsc.calibrate(features, config.pvm)
    clock.khz = calibration[0]
    line = log.begin()
    line.text(features.name())
    line.text(b", ")
    line.text(level_text(features.level))
    line.text(b", TSC ")
    line.unsigned(clock.khz // 1000)
    line.text(b" MHz (")
    line.text(tsc.SOURCE_TEXT[calibration[1]])
    line.byte(0x29)
    log.end()


def memory() -> None:
    """Take over RAM and map it; make the arena that drivers allocate from."""
    ram.init(boot_info, symbol_address("image_start"), symbol_address("image_end"))
    paging.init(boot_info, ram, features, config)
    arena_bytes = BOOT_ARENA_BYTES
    if config.network:
        arena_bytes += connection_count(ram.total_bytes()) * CONNECTION_BYTES
    address = ram.take(arena_bytes, HUGE_BYTES, BELOW_4G)
    assert address != 0, "no memory for the boot arena"
    boot_arena.storage = slice_at(u8, address, usize(arena_bytes))
    line = log.begin()
    line.text(b"RAM ")
    line.unsigned(ram.total_bytes() // MEGABYTE)
    line.text(b" MiB, pages 1G:")
    line.unsigned(paging.page_tables.pages_1g)
    line.text(b" 2M:")
    line.unsigned(paging.page_tables.pages_2m)
    line.text(b" 4K:")
    line.unsigned(paging.page_tables.pages_4k)
    log.end()


def devices() -> None:
    """Find ACPI tables, PCI and virtio devices."""
    hardware.discover(boot_info.rsdp, boot_info.command())


def cores() -> None:
    """Start every other core the firmware lists, up to `cores=N`."""
    acpi = hardware.acpi
    apic.choose(features, acpi.lapic_address)
    apic.enable()
    smp.init(config.pvm)
    limit = min(config.cores, CPU_MAX) if config.cores > 0 else CPU_MAX
    is_virtual = features.leaf1_ecx & Leaf1.HYPERVISOR != 0
    own = apic.id()
    failed = 0
    if acpi.cpu_count > 1:
        smp.copy_trampoline()
    for index in range(acpi.cpu_count):
        target = acpi.apic_ids[index]
        if target == own or smp.cores.count >= limit:
            continue
        if not smp.start_core(target, ram, is_virtual):
            failed += 1
    line = log.begin()
    line.text(b"cores ")
    line.unsigned(smp.cores.count)
    line.text(b" of ")
    line.unsigned(max(u32(acpi.cpu_count), 1))
    if failed > 0:
        line.text(b", did not start: ")
        line.decimal(failed)
    log.end()


def network_device() -> None:
    """Start the network device, if there is one and it is wanted."""
    if not config.network:
        return
    found = find_nic(boot_arena)
    line = log.begin()
    line.text(b"network ")
    if isinstance(found, NicError):
        line.text(NIC_ERROR_TEXT[found])
        log.end()
        return
    for index in range(6):
        if index > 0:
            line.byte(0x3A)
        line.hex(found.mac[index], 2)
    log.end()
    network.start(found, boot_arena, connection_count(ram.total_bytes()), now_ns())
    serving.start(boot_arena)


def seal() -> None:
    """End the boot phase: what is not taken now belongs to the model."""
    boot_arena.seal()
    ram.seal()
    line = log.begin()
    line.text(b"ready, ")
    line.unsigned(ram.used_bytes() // MEGABYTE)
    line.text(b" MiB used")
    log.end()


def disk() -> None:
    """Start the disk, if there is one. Without it everything but the model works."""
    found = find_disk(boot_arena)
    line = log.begin()
    line.text(b"disk ")
    if isinstance(found, DiskError):
        line.text(DISK_ERROR_TEXT[found])
    else:
        storage.disk = found
        line.unsigned(byte_count(found) // MEGABYTE)
        line.text(b" MiB")
    log.end()


def load_model() -> None:
    """Load and serve the model, if the command line says so."""
    if config.serve_port != 0:
        serving.listen(config.serve_port)
    if config.serve_port != 0 or config.load:
        model.load()
