"""The sequences of the cache: which are free, and what those still hold.

A sequence keeps the keys and values of the last request it served. A later prompt that begins with
the same tokens need not compute them again: they are the same bits, since what a token gives
depends on the tokens before it alone.
"""

from bare import Arena, Slice, Struct, u32, u64, usize

SHARED_MIN = 16  # Less is not worth overwriting what another conversation may come back for.


class Sequence(Struct):
    """One part of the cache."""

    busy: bool
    held: u32  # Positions whose keys and values are in the cache.
    released: u64  # When, in releases.
    tokens: Slice[u32]  # [context]; the first `held` are valid.


class Sequences(Struct):
    """All parts of the cache."""

    items: Slice[Sequence]
    releases: u64

    def init(self, arena: Arena, count: usize, context: usize) -> None:
        """Make room for the tokens of `count` sequences."""
        self.items = arena.slice(Sequence, count)
        for item in self.items:
            item.tokens = arena.slice(u32, context)

    def any_free(self) -> bool:
        """Whether `acquire` can succeed."""
        for item in self.items:
            if not item.busy:
                return True
        return False

    def acquire(self, prompt: Slice[u32], may_share: bool) -> tuple[u32, u32]:
        """A free sequence for a prompt, and how many of its first tokens it holds.

        The one that holds most of the prompt, of equals the one that was released first. The last
        token is never counted: its logits are wanted.
        """
        best = len(self.items)
        most: u32 = 0
        for index in range(len(self.items)):
            item = self.items[index]
            if item.busy:
                continue
            shared: u32 = 0
            if may_share:
                shared = common_prefix(item.tokens[: item.held], prompt[: len(prompt) - 1])
            if shared < SHARED_MIN:
                shared = 0
            older = best == len(self.items) or item.released < self.items[best].released
            if best == len(self.items) or shared > most or (shared == most and older):
                best = index
                most = shared
        assert best < len(self.items), "any_free says so"
        chosen = self.items[best]
        chosen.busy = True
        chosen.held = 0  # Nobody else may count on it while it is written.
        return u32(best), most

    def release(self, index: u32, tokens: Slice[u32]) -> None:
        """Free a sequence that holds the keys and values of `tokens`."""
        item = self.items[index]
        item.tokens[: len(tokens)].copy_from(tokens)
        item.held = u32(len(tokens))
        self.releases += 1
        item.released = self.releases
        item.busy = False


def common_prefix(a: Slice[u32], b: Slice[u32]) -> u32:
    """How many first tokens are equal."""
    count = min(len(a), len(b))
    for i in range(count):
        if a[i] != b[i]:
            return u32(i)
    return u32(count)
