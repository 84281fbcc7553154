"""`noise [SECONDS]`: what cores that only read the clock do not get to see.

Every core reads the time-stamp counter as fast as it can. Between two readings lie some 20 ns; a
larger gap is time that somebody else had the core: a hypervisor, its host, firmware. No interrupt
is enabled, so none of it is ours.
"""

from bare import Bytes, f64, u64, usize
from merlion.kernel import measure
from merlion.kernel.arch.x86_64 import smp
from merlion.kernel.clock import clock
from merlion.kernel.config import parse_number
from merlion.kernel.console import console
from merlion.kernel.errands import GAP_BOUNDS_NS, Noise, errands
from merlion.kernel.inference import scheduler
from merlion.kernel.model import model
from merlion.kernel.shell.refuse import refuse

SECONDS_DEFAULT = 1
SECONDS_MAX = 60
USAGE = b"usage: noise [seconds], 1 to %d" % SECONDS_MAX
BOUND_TEXT = (b"1 us", b"10 us", b"100 us", b"1 ms", b"10 ms")
assert len(BOUND_TEXT) == len(GAP_BOUNDS_NS)


def run(arguments: Bytes) -> bool:
    """Listen, and say what there was. Nothing else runs meanwhile."""
    seconds: u64 = SECONDS_DEFAULT
    if len(arguments) > 0:
        number = parse_number(arguments)
        if number is None or number == 0 or number > SECONDS_MAX:
            return refuse(USAGE)
        seconds = number
    if model.loaded and scheduler.has_work():
        return refuse(b"requests are being answered: ai-stop first, or wait")
    measure.listen(seconds)
    report(seconds)
    return True


def report(seconds: u64) -> None:
    """Show the gaps of all cores by size, then each core's worst."""
    out = console.out
    noise = Noise()
    for result in errands.results[: smp.cores.count]:
        noise.add(result.noise)
    for index in range(len(GAP_BOUNDS_NS)):
        out.text(b"gaps from ")
        out.text(BOUND_TEXT[index])
        out.text(b": ")
        out.unsigned(noise.counts[index])
        out.text(b", together ")
        out.fixed(f64(clock.nanoseconds(noise.lost[index])) / 1e6, 3)
        console.line(b" ms")
    for number in range(smp.cores.count):
        heard = errands.results[usize(number)].noise
        out.text(b"core ")
        out.unsigned(number)
        out.text(b": longest ")
        out.fixed(f64(clock.nanoseconds(heard.longest)) / 1e6, 3)
        out.text(b" ms; lost ")
        out.fixed(f64(clock.nanoseconds(heard.total())) / f64(seconds) / 1e7, 3)
        out.text(b" % of ")
        out.unsigned(seconds)
        out.text(b" s; ")
        out.unsigned(heard.readings)
        console.line(b" readings")
