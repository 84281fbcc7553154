"""Text to tokens and back: byte-level BPE and SentencePiece, as the file asks.

`encode` first cuts the text at special tokens, then encodes what lies between:

- user-defined tokens are always cut out; control and unknown tokens only with `parse_special`, so
  that text from outside never becomes one by accident;
- BYTE_PAIR: the pre-tokenizer's pieces, each merged by rank (`ignore_merges`: a piece that is a
  token is that token);
- SENTENCE_PIECE: a space is put in front (after a special token too) where the file says so, spaces
  and U+2581 are one, and merging is by score; characters without a token become byte tokens. A
  text is cut in front of each run of spaces where no token could span the cut.

Oracles: llama.cpp (shared/data/smollm2_tokenize.json) and Hugging Face `tokenizers`. Malformed
UTF-8 is kept byte by byte, so decoding gives the same bytes back.
"""

from enum import Enum, auto

from bare import Arena, Bytes, Slice, Struct, u8, u32, usize
from merlion.engine.gguf import Gguf
from merlion.engine.gguf_value import Lookup, Reader, ValueType
from merlion.engine.limits import PIECE_BYTES_MAX, TOKEN_BYTES_MAX, VOCABULARY_MAX
from merlion.engine.merge import END, Merger, MergeTable
from merlion.engine.pretokenizer import PreTokenizer, find_pre_tokenizer, next_piece
from merlion.engine.special_tokens import SpecialTokens
from merlion.engine.unicode import decode_at
from merlion.engine.vocab import (
    BLANK,
    NO_TOKEN,
    TokenType,
    Vocabulary,
    VocabularyError,
    VocabularyModel,
    decode_spelling,
    unescape_spaces,
)


class TokenizeError(Enum):
    """Why a text has no tokens."""

    OUTPUT_FULL = auto()  # More tokens than `out` holds.
    PIECE_TOO_LONG = auto()  # A run without a cut is over PIECE_BYTES_MAX.
    NO_TOKEN_FOR_BYTE = auto()  # The vocabulary cannot express the text.


class Tokenizer(Struct):
    """One model's tokenizer. Encoding uses shared working memory: one caller at a time."""

    vocabulary: Vocabulary
    special: SpecialTokens
    merges: MergeTable
    merger: Merger
    pre: PreTokenizer
    ignore_merges: bool
    add_bos: bool  # A prompt begins with the BOS token.
    add_space_prefix: bool
    cuts_at_spaces: bool
    normalised: Slice[
        u8
    ]  # SENTENCE_PIECE: the piece with its spaces in one form. At load: scratch.
    out: Slice[u32]
    out_count: usize

    def load(self, gguf: Gguf, arena: Arena) -> VocabularyError | None:
        """Read the vocabulary and the rules. On an error `vocabulary.error_name` says of what."""
        vocabulary = self.vocabulary
        error = vocabulary.load(gguf, arena)
        if error is not None:
            return error
        if not self.special.load(vocabulary, arena):
            return vocabulary.fail(VocabularyError.TOO_MANY_SPECIAL_TOKENS, b"")
        if not self.merger.allocate(arena) or not arena.fits(u8, PIECE_BYTES_MAX):
            return vocabulary.fail(VocabularyError.OUT_OF_MEMORY, b"")
        self.normalised = arena.slice(u8, PIECE_BYTES_MAX)
        self.add_space_prefix = False
        self.add_bos = False
        if vocabulary.model == VocabularyModel.BYTE_PAIR:
            error = self.load_byte_pair(gguf, arena)
            if error is not None:
                return error
        else:
            self.add_bos = True
            self.add_space_prefix = flag_or(gguf, b"tokenizer.ggml.add_space_prefix", True)
            self.cuts_at_spaces = no_token_spans_a_cut(vocabulary)
        self.add_bos = flag_or(gguf, b"tokenizer.ggml.add_bos_token", self.add_bos)
        if vocabulary.bos == NO_TOKEN:
            self.add_bos = False
        return None

    def load_byte_pair(self, gguf: Gguf, arena: Arena) -> VocabularyError | None:
        """The pre-tokenizer and the merges."""
        vocabulary = self.vocabulary
        name = gguf.string(b"tokenizer.ggml.pre")
        if isinstance(name, Lookup):
            return vocabulary.fail_lookup(name, b"tokenizer.ggml.pre")
        pre = find_pre_tokenizer(name)
        if pre is None:
            return vocabulary.fail(VocabularyError.UNSUPPORTED_PRE_TOKENIZER, name)
        self.pre = pre
        self.ignore_merges = pre == PreTokenizer.LLAMA3
        self.add_bos = pre == PreTokenizer.LLAMA3
        merges = gguf.array(b"tokenizer.ggml.merges", ValueType.STRING)
        if isinstance(merges, Lookup):
            return vocabulary.fail_lookup(merges, b"tokenizer.ggml.merges")
        if merges.count > VOCABULARY_MAX:
            return vocabulary.fail(VocabularyError.BAD_MERGE, b"tokenizer.ggml.merges")
        if not self.merges.allocate(arena, usize(merges.count)):
            return vocabulary.fail(VocabularyError.OUT_OF_MEMORY, b"tokenizer.ggml.merges")
        reader = Reader(data=gguf.value_data(merges))
        for rank in range(merges.count):
            merge = reader.read_string()
            error = self.add_merge(merge, u32(rank))
            if error is not None:
                return vocabulary.fail(error, merge)
        return None

    def add_merge(self, merge: Bytes, rank: u32) -> VocabularyError | None:
        """Add the merge spelt `left right`. All three tokens must exist."""
        if len(merge) < 3 or len(merge) > TOKEN_BYTES_MAX * 2:
            return VocabularyError.BAD_MERGE
        gap = merge[1:].find(b" ")
        if gap < 0:
            return VocabularyError.BAD_MERGE
        middle = decode_spelling(merge[: usize(gap) + 1], self.normalised)
        end = middle + decode_spelling(merge[usize(gap) + 2 :], self.normalised[middle:])
        left = self.vocabulary.find(self.normalised[:middle])
        right = self.vocabulary.find(self.normalised[middle:end])
        merged = self.vocabulary.find(self.normalised[:end])
        if left == NO_TOKEN or right == NO_TOKEN or merged == NO_TOKEN:
            return VocabularyError.BAD_MERGE
        if not self.merges.insert(left, right, rank, merged):
            return VocabularyError.CROWDED
        return None

    def encode(self, text: Bytes, out: Slice[u32], parse_special: bool) -> usize | TokenizeError:
        """Write the tokens of `text` to `out`, without BOS. Returns their number."""
        self.out = out
        self.out_count = 0
        at: usize = 0
        start: usize = 0
        after_special = True
        while at < len(text):
            token = self.special.match_at(self.vocabulary, text, at, parse_special)
            if token == NO_TOKEN:
                at += 1
                continue
            if start < at:
                error = self.encode_fragment(text[start:at], after_special)
                if error is not None:
                    return error
            if not self.put(token):
                return TokenizeError.OUTPUT_FULL
            after_special = True
            at += len(self.vocabulary.bytes_of(token))
            start = at
        if start < len(text):
            error = self.encode_fragment(text[start:], after_special)
            if error is not None:
                return error
        return self.out_count

    def encode_prompt(
        self, text: Bytes, out: Slice[u32], parse_special: bool
    ) -> usize | TokenizeError:
        """As encode, with BOS in front where the model wants it."""
        if not self.add_bos:
            return self.encode(text, out, parse_special)
        if len(out) == 0:
            return TokenizeError.OUTPUT_FULL
        out[0] = self.vocabulary.bos
        count = self.encode(text, out[1:], parse_special)
        if isinstance(count, TokenizeError):
            return count
        return count + 1

    def piece(self, token: u32) -> Bytes:
        """The bytes a generated token adds to the answer: none for control tokens."""
        if token >= self.vocabulary.count or self.vocabulary.is_control(token):
            return b""
        return self.vocabulary.bytes_of(token)

    def put(self, token: u32) -> bool:
        """Append a token to the output. False when it is full."""
        if self.out_count >= len(self.out):
            return False
        self.out[self.out_count] = token
        self.out_count += 1
        return True

    def encode_fragment(self, text: Bytes, after_special: bool) -> TokenizeError | None:
        """Encode text without special tokens."""
        if self.vocabulary.model == VocabularyModel.SENTENCE_PIECE:
            return self.encode_sentence(text, after_special and self.add_space_prefix)
        at: usize = 0
        while at < len(text):
            end = next_piece(self.pre, text, at)
            error = self.encode_byte_pair(text[at:end])
            if error is not None:
                return error
            at = end
        return None

    def encode_byte_pair(self, piece: Bytes) -> TokenizeError | None:
        """Encode one piece of the pre-tokenizer."""
        if len(piece) > PIECE_BYTES_MAX:
            return TokenizeError.PIECE_TOO_LONG
        if self.ignore_merges:
            whole = self.vocabulary.find(piece)
            if whole != NO_TOKEN:
                return None if self.put(whole) else TokenizeError.OUTPUT_FULL
        self.merger.start()
        for i, byte in enumerate(piece):
            token = self.vocabulary.byte_tokens[byte]
            if token == NO_TOKEN:
                return TokenizeError.NO_TOKEN_FOR_BYTE
            self.merger.add(token, i, 1)
        return self.finish_piece(piece)

    def encode_sentence(self, text: Bytes, prefix: bool) -> TokenizeError | None:
        """Encode by score, cut into pieces where no token can span the cut."""
        at: usize = 0
        needs_prefix = prefix
        while at < len(text):
            end = len(text)
            if self.cuts_at_spaces:
                end = end_of_word(text, at)
            if end - at + 1 > PIECE_BYTES_MAX:
                return TokenizeError.PIECE_TOO_LONG
            length: usize = 0
            if needs_prefix:
                self.normalised[0] = BLANK
                length = 1
            length += unescape_spaces(text[at:end], self.normalised[length:])
            error = self.encode_sentence_piece(self.normalised[:length])
            if error is not None:
                return error
            needs_prefix = False
            at = end
        return None

    def encode_sentence_piece(self, piece: Bytes) -> TokenizeError | None:
        """Encode one piece by score: symbols are characters."""
        self.merger.start()
        at: usize = 0
        while at < len(piece):
            _, length = decode_at(piece, at)
            token = self.vocabulary.find(piece[at : at + length])
            self.merger.add(token, at, length)
            at += length
        return self.finish_piece(piece)

    def finish_piece(self, piece: Bytes) -> TokenizeError | None:
        """Merge the symbols and write their tokens, bytes for characters without one."""
        self.merger.merge(self.vocabulary, self.merges, piece)
        at: u32 = 0
        while at != END:
            symbol = self.merger.symbols[at]
            if symbol.token == NO_TOKEN:
                error = self.put_bytes(piece[symbol.start : symbol.start + symbol.length])
                if error is not None:
                    return error
            elif not self.put(symbol.token):
                return TokenizeError.OUTPUT_FULL
            at = symbol.next
        return None

    def put_bytes(self, character: Bytes) -> TokenizeError | None:
        """Write a character as byte tokens, or as the unknown token."""
        for byte in character:
            token = self.vocabulary.byte_tokens[byte]
            if token == NO_TOKEN:
                token = self.vocabulary.unknown
            if token == NO_TOKEN:
                return TokenizeError.NO_TOKEN_FOR_BYTE
            if not self.put(token):
                return TokenizeError.OUTPUT_FULL
        return None


def flag_or(gguf: Gguf, key: Bytes, default: bool) -> bool:
    """A boolean key, `default` when it is absent."""
    value = gguf.boolean(key)
    if isinstance(value, Lookup):
        return default
    return value


def end_of_word(text: Bytes, start: usize) -> usize:
    """The end of spaces*, others* from `start`."""
    at = start
    while at < len(text) and space_length(text, at) != 0:
        at += space_length(text, at)
    while at < len(text) and space_length(text, at) == 0:
        at += 1
    return at


def space_length(text: Bytes, at: usize) -> usize:
    """Bytes of the space or U+2581 at `at`, 0 for anything else."""
    byte = text[at]
    if byte == BLANK:
        return 1
    if byte == 0xE2 and text[at:].startswith(b"\xe2\x96\x81"):
        return 3
    return 0


def no_token_spans_a_cut(vocabulary: Vocabulary) -> bool:
    """Whether no token has a space behind another character, so that words encode alone."""
    for i in range(vocabulary.count):
        if vocabulary.types[i] == TokenType.NORMAL:
            text = vocabulary.bytes_of(u32(i))
            for j in range(1, len(text)):
                if text[j] == BLANK and text[j - 1] != BLANK:
                    return False
    return True
