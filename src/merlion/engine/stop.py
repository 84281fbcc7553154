"""Stop strings found in a stream of bytes, across any cuts.

Each string runs the Knuth-Morris-Pratt automaton: `matched` is the length of the longest prefix of
the string that the stream now ends with. So the longest of them is how much of the stream must be
held back, and no byte is looked at twice. The string that ends first wins; of those that end at the
same byte, the longest (it began first).
"""

from bare import Array, Bytes, Struct, array, u8, u16, u32, usize
from merlion.engine.limits import STOP_BYTES_MAX, STOP_STRINGS_MAX
from merlion.engine.params import GenerateParams


class StopAutomaton(Struct):
    """One stop string."""

    length: u32
    matched: u32
    bytes: Array[u8] = array(STOP_BYTES_MAX)
    fallback: Array[u16] = array(STOP_BYTES_MAX)  # Longest border of bytes[:i + 1].

    def start(self, text: Bytes) -> None:
        """Build the automaton of `text`."""
        assert 0 < len(text) <= STOP_BYTES_MAX, "checked by set_stop"
        self.length = u32(len(text))
        self.matched = 0
        self.bytes[: len(text)].copy_from(text)
        self.fallback[0] = 0
        border: u32 = 0
        for i in range(1, len(text)):
            while border > 0 and self.bytes[border] != text[i]:
                border = self.fallback[border - 1]
            if self.bytes[border] == text[i]:
                border += 1
            self.fallback[i] = u16(border)

    def advance(self, byte: u8) -> bool:
        """Take one byte. True when the stream now ends with the string."""
        while self.matched > 0 and self.bytes[self.matched] != byte:
            self.matched = self.fallback[self.matched - 1]
        if self.bytes[self.matched] == byte:
            self.matched += 1
        if self.matched < self.length:
            return False
        self.matched = self.fallback[self.length - 1]
        return True


class StopMatcher(Struct):
    """All stop strings of one request."""

    count: u32
    automata: Array[StopAutomaton] = array(STOP_STRINGS_MAX)

    def start(self, params: GenerateParams) -> None:
        """Begin a stream."""
        self.count = 0
        for i in range(params.stop_count):
            text = params.stop[i].text()
            if len(text) > 0:
                self.automata[self.count].start(text)
                self.count += 1

    def advance(self, byte: u8) -> u32:
        """Take one byte. The length of the stop string that it completes, 0 for none."""
        found: u32 = 0
        for i in range(self.count):
            automaton = self.automata[i]
            if automaton.advance(byte):
                found = max(found, automaton.length)
        return found

    def held(self) -> usize:
        """How many bytes at the end of the stream may yet become a stop string."""
        longest: u32 = 0
        for i in range(self.count):
            longest = max(longest, self.automata[i].matched)
        return longest
