"""Special tokens in text: the longest one that begins at a place.

Tokens of type CONTROL, UNKNOWN and USER_DEFINED, grouped by first byte, longest first.
"""

from bare import Arena, Array, Bytes, Slice, Struct, array, u32, usize
from merlion.engine.limits import SPECIAL_TOKENS_MAX
from merlion.engine.vocab import NO_TOKEN, TokenType, Vocabulary


class SpecialTokens(Struct):
    """group b is tokens[starts[b]:starts[b + 1]]."""

    tokens: Slice[u32]
    starts: Array[u32] = array(257)

    def load(self, vocabulary: Vocabulary, arena: Arena) -> bool:
        """Collect and sort. False when there are more than SPECIAL_TOKENS_MAX, or no memory."""
        self.starts[:].fill(0)
        count: usize = 0
        for i in range(vocabulary.count):
            if is_special(vocabulary, u32(i)):
                count += 1
                self.starts[vocabulary.bytes_of(u32(i))[0] + 1] += 1
        if count > SPECIAL_TOKENS_MAX or not arena.fits(u32, count + 16):
            return False
        self.tokens = arena.slice(u32, count)
        for i in range(256):
            self.starts[i + 1] += self.starts[i]
        # Insertion into each group, which begins full of NO_TOKEN: stable, longest first.
        self.tokens.fill(NO_TOKEN)
        for i in range(vocabulary.count):
            if is_special(vocabulary, u32(i)):
                self.insert(vocabulary, u32(i))
        return True

    def insert(self, vocabulary: Vocabulary, token: u32) -> None:
        """Put a token in its place in its group."""
        text = vocabulary.bytes_of(token)
        at: usize = self.starts[text[0]]
        while self.tokens[at] != NO_TOKEN:
            if len(vocabulary.bytes_of(self.tokens[at])) < len(text):
                break
            at += 1
        moving = token
        while moving != NO_TOKEN:
            following = self.tokens[at]
            self.tokens[at] = moving
            moving = following
            at += 1

    def match_at(self, vocabulary: Vocabulary, text: Bytes, at: usize, parse_special: bool) -> u32:
        """The longest special token that begins at byte `at`, or NO_TOKEN.

        Control and unknown tokens are only seen with `parse_special`.
        """
        first = text[at]
        for i in range(self.starts[first], self.starts[first + 1]):
            token = self.tokens[i]
            if not parse_special and vocabulary.is_control(token):
                continue
            if text[at:].startswith(vocabulary.bytes_of(token)):
                return token
        return NO_TOKEN


def is_special(vocabulary: Vocabulary, token: u32) -> bool:
    """Whether the token is cut out of a text before encoding."""
    kind = vocabulary.types[token]
    if kind != TokenType.CONTROL and kind != TokenType.UNKNOWN and kind != TokenType.USER_DEFINED:
        return False
    return len(vocabulary.bytes_of(token)) > 0
