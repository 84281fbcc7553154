"""A forward pass by one member, with the clock read between phases (compiled with `bare`)."""

from bare import Slice, u64, wrap
from bare.cpu import rdtsc
from merlion.engine.llama import Llama, Phase


def timed_pass(llama: Llama, ticks: Slice[u64]) -> None:
    """Run the batch; ticks[phase] becomes what each phase took, ticks[END] the beginning."""
    ticks.fill(0)
    before = rdtsc()
    llama.begin()
    now = rdtsc()
    ticks[Phase.END] = wrap(u64, now - before)
    chunks = llama.next_phase()
    while chunks > 0:
        before = rdtsc()
        for chunk in range(chunks):
            llama.compute(0, chunk)
        now = rdtsc()
        ticks[llama.phase] += wrap(u64, now - before)
        llama.leave_phase()
        chunks = llama.next_phase()
