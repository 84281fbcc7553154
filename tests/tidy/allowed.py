"""What may break a rule, and why. An entry that is no longer needed fails the tests too."""

FILE_LINES_MAX = 420  # CONTRIBUTING.md: about 400.
FUNCTION_LINES_MAX = 65  # About 60, signature and docstring included.

LONG_FILES: dict[str, str] = {}

LONG_FUNCTIONS: dict[str, str] = {}

# Files that see addresses: boot, page tables, drivers' rings, and the language itself.
UNSAFE: dict[str, str] = {
    "src/bare/arena.py": "hands out parts of its storage under other types",
    "src/bare/mmio.py": "a register is an address",
    "src/merlion/kernel/acpi.py": "tables lie where the firmware put them",
    "src/merlion/kernel/arch/x86_64/apic.py": "registers in memory",
    "src/merlion/kernel/arch/x86_64/descriptors.py": "tells the CPU where its tables lie",
    "src/merlion/kernel/arch/x86_64/smp.py": "stacks, start-up code and own data of other cores",
    "src/merlion/kernel/arch/x86_64/stubs.py": "assembly",
    "src/merlion/kernel/arch/x86_64/trampoline.py": "assembly",
    "src/merlion/kernel/arch/x86_64/tsc.py": "reads the page a PVM host shares",
    "src/merlion/kernel/boot/pvh.py": "assembly",
    "src/merlion/kernel/drivers/uart.py": "tells the CPU where the bytes to send lie",
    "src/merlion/kernel/drivers/virtio/blk.py": "tells the device where buffers lie",
    "src/merlion/kernel/drivers/virtio/doorbell.py": "registers in memory",
    "src/merlion/kernel/drivers/virtio/mmio.py": "registers in memory",
    "src/merlion/kernel/drivers/virtio/net.py": "tells the device where buffers lie",
    "src/merlion/kernel/drivers/virtio/pci.py": "registers in memory",
    "src/merlion/kernel/drivers/virtio/queue.py": "tells the device where the rings lie",
    "src/merlion/kernel/drivers/virtio/transport.py": "tells the device where the rings lie",
    "src/merlion/kernel/memory/paging.py": "page tables",
    "src/merlion/kernel/model.py": "RAM becomes arenas",
    "src/merlion/kernel/panic.py": "walks the stack",
    "src/merlion/kernel/pci/config.py": "configuration space in memory",
    "src/merlion/kernel/power.py": "registers ACPI names",
    "src/merlion/kernel/shell/crash.py": "fails on purpose",
    "src/merlion/kernel/start.py": "what the loader left in memory",
    "src/merlion/kernel/symbols.py": "the linker's symbol table",
}
