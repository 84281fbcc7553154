"""Every bound of the kernel, with its reason."""

CPU_MAX = 64  # Static tables; a desktop CPU has up to 32 threads.
STACK_BYTES = 256 * 1024  # The deepest calls need 12 KiB (`merlion build --stack`).
BOOT_ARENA_BYTES = 20 << 20  # Driver rings and the server's buffers; connections come on top.
CONSOLE_OUTPUT_BYTES = 8192
SCREEN_BYTES = 16 * 1024  # More than a boot says.
SCREEN_BURST = 4  # FIFOs of 16 bytes sent before anything else gets its turn.
CORE_START_MS = 200  # SIPI to first report; 3 ms seen under TCG on a busy host.
IDLE_SPINS = 2_200  # Idle polls of a worker before it looks whether it may sleep: 0.1 ms.
INPUT_POLL_NS = 2_000_000  # A port read costs 25 µs on a PVM host: 1 % of the time.
INPUT_POLL_BUSY_NS = 100_000_000  # While tokens are made: seldom enough to miss their p99.
CONTEXT_DEFAULT = 2048  # Positions of a sequence, unless ctx= says otherwise.
SEQUENCES_DEFAULT = 4  # Decoded together, unless parallel= says otherwise.
REQUESTS_MIN = 16  # Waiting ones included; more where more are decoded together.
PROBE_BYTES = 4096  # The largest block of a disk: enough to see whether it holds a GGUF.
LOAD_ROOM_BYTES = 16 << 20  # Less than this beside the file holds no model.
PROGRESS_NS = 250_000_000  # Between two progress lines; a small model shows none.
HEADER_LOOK_BYTES = 1 << 20  # The first look for a whole header; next at twice as much.
FILL_BYTES_MIN = 4 << 20  # Less is not worth waking cores for while more is to come.
FILL_BYTES = 64 << 20  # A job that all cores end together: seldom, since a host may take one away.
SERVE_NS = 500_000  # Clients of a machine that prepares its model wait no longer for a turn.
DISK_NAP_TICKS = 100_000  # 0.1 ms: a request of 1 MiB takes about as long.
FRAME_BATCH = 64  # Frames moved before anything else gets its turn.
# A burst of clients connects and waits; 25 MiB that nobody touches until they come.
NET_CONNECTIONS_MAX = 1024
NET_CONNECTIONS_MIN = 64
NET_RECEIVE_BYTES = 16 * 1024
NET_TRANSMIT_BYTES = 8 * 1024  # The server keeps up to 32 KiB more of each answer.
NET_TABLE_BYTES = 1024  # Of a connection, beside its buffers: block, flow, timer, queues.
NET_RAM_SHARE = 8  # Connections take no more than this part of a small machine's RAM.
SHELL_ANSWER_TOKENS = 512
BENCH_TOKENS = 256
BENCH_PROMPT_TOKENS = 512
SAMPLES_MAX = 4096  # Times kept of a benchmark.
BENCH_STREAM_TOKENS = 32  # Of each of several answers together.
PROBE_PASSES = 5
MULTIPLY_ROUNDS = 100_000  # About 0.3 ms of AVX-512.
SERVER_CONNECTIONS = 64  # Served at once; the bridge holds as many more until there is a place.
SERVER_BODY_BYTES = 1 << 20
IDLE_NS = 20_000_000  # Without work for so long, the cores halt.
TIMELINE_MAX = 24  # Stages of boot, load and first use.
NAP_TICKS = 1_000_000  # Of the APIC timer: 1 ms under KVM and QEMU, where it runs at 1 GHz.


# Waiting for another core (patience.py).
FREE_WAIT_NS = 1_000_000  # Longer than any core computes at a piece of work of one token.
CREDIT_NS = 50_000_000  # A few times what a host takes a core away for.
REFILL_SHARE = 10  # At most a tenth of a core's time is polled away.
YIELD_TICKS = 50_000  # 50 us of a 1 GHz APIC clock: a few times what halting and waking cost.
