"""What a stack is made with, and what it counts."""

from bare import Struct, u64, usize
from merlion.net.limits import ACCEPT_BACKLOG, SYN_QUEUE, TIME_WAIT_ENTRIES


class StackConfig(Struct):
    """Sizes and secrets. The keys must be unpredictable: they protect sequence numbers."""

    key0: u64
    key1: u64
    connections: usize = 1024
    receive_bytes: usize = 16384
    transmit_bytes: usize = 16384
    backlog: usize = ACCEPT_BACKLOG
    syn_queue: usize = SYN_QUEUE
    time_waits: usize = TIME_WAIT_ENTRIES


class StackCounters(Struct):
    """What happened to frames, for /metrics and the shell."""

    frames_in: u64
    frames_out: u64
    ignored: u64  # Not for us, or a protocol we do not speak.
    malformed: u64
    checksum_errors: u64
    fragments: u64
    echo_requests: u64
    udp_unreachable: u64
