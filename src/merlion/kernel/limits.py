"""Every bound of the kernel, with its reason."""

CPU_MAX = 64  # Static tables; a desktop CPU has up to 32 threads.
STACK_BYTES = 256 * 1024  # The deepest call chain the build reports, times four.
BOOT_ARENA_BYTES = 8 << 20  # Driver rings, network buffers; grows with nothing.
CONSOLE_INPUT_BYTES = 256
CONSOLE_OUTPUT_BYTES = 8192
CORE_START_MS = 200  # SIPI to first report; 3 ms seen under TCG on a busy host.
IDLE_SPINS = 20_000  # Idle polls of a worker before it halts: about 1 ms.
INPUT_POLL_NS = 2_000_000  # A port read costs 25 µs on a PVM host: 1 % of the time.
