"""`ping ADDRESS`: four echo requests, a second apart, with the time each answer took."""

from bare import Bytes, Struct, u16, u32, u64
from merlion.kernel.clock import now_ns
from merlion.kernel.config import parse_ipv4
from merlion.kernel.console import console
from merlion.kernel.network import stack
from merlion.kernel.shell.refuse import refuse

COUNT = 4
INTERVAL_NS = 1_000_000_000


class Ping(Struct):
    """The requests under way."""

    active: bool = False
    answered: bool = False
    address: u32 = 0
    sequence: u16 = 0
    sent_ns: u64 = 0
    answers: u16 = 0

    def start(self, address: u32) -> None:
        """Send the first."""
        self.active = True
        self.address = address
        self.sequence = 0
        self.answers = 0
        self.send()

    def send(self) -> None:
        """Send the next."""
        self.sequence += 1
        self.answered = False
        self.sent_ns = now_ns()
        if not stack.ping(self.address, self.sequence):
            console.line(b"cannot send now")

    def poll(self) -> bool | None:
        """Look for the answer. At the end, whether there was any; None before."""
        now = now_ns()
        if not self.answered and stack.echo_sequence == self.sequence:
            if stack.echo_received_ns >= self.sent_ns:
                self.answered = True
                self.answers += 1
                self.report(now)
        if now - self.sent_ns < INTERVAL_NS:
            return None
        if not self.answered:
            console.line(b"no answer")
        if self.sequence == COUNT:
            self.active = False
            return self.answers > 0
        self.send()
        return None

    def report(self, now: u64) -> None:
        """Show one answer. The stack's time is that of the loop round, so ours is the later one."""
        out = console.out
        out.text(b"answer ")
        out.unsigned(self.sequence)
        out.text(b" in ")
        out.unsigned((now - self.sent_ns) // 1000)
        console.line(b" us")

    def cancel(self) -> None:
        """Stop after this one."""
        self.sequence = COUNT


ping = Ping.zeroed()


def run(arguments: Bytes) -> bool:
    """Start."""
    address = parse_ipv4(arguments)
    if address is None:
        return refuse(b"usage: ping ADDRESS")
    if not stack.has_address():
        return refuse(b"no address yet")
    ping.start(address)
    return True
