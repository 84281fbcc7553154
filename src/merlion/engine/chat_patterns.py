"""The ways in which ChatML is written in Jinja, and a scanner that sees past their spelling.

Patterns and templates are compared byte by byte after the same reduction, which keeps meaning:

- blanks inside a tag and outside its strings are dropped, and either quote is an apostrophe;
- a line end in a string may be written as itself or as `\\n`;
- outside tags, white space that Jinja drops is dropped: beside a `-`, and (trim_blocks and
  lstrip_blocks, which Hugging Face sets) a line end behind a block tag with the blanks before the
  next one. Any other text outside tags stays, and so matches no pattern.
"""

from bare import Bytes, Slice, Struct, i32, i64, u8, usize

HOLE = 0x00  # In a pattern: the default system message.
END = -1  # From the scanner: the template is read.
QUOTE = 0x27
END_MARK = b"<|im_end|>"


def _patterns() -> tuple[bytes, ...]:
    """Every combination of the parts, reduced (runs at import)."""
    openings = (
        "",
        "{% if not add_generation_prompt is defined %}"
        "{% set add_generation_prompt = false %}{% endif %}",
    )
    defaults = (
        "",
        "{% if loop.first and messages[0]['role'] != 'system' %}"
        "{{ '<|im_start|>system\\n\0<|im_end|>\\n' }}{% endif %}",
    )
    bodies = (
        "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}",
        "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n'}}",
        "{{'<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n'}}",
        "{{'<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n'}}",
    )
    closing = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    return tuple(
        _reduce(f"{opening}{{% for message in messages %}}{default}{body}{{% endfor %}}{closing}")
        for opening in openings
        for default in defaults
        for body in bodies
    )


def _reduce(template: str) -> bytes:
    """Drop blanks outside strings, write line ends out; the patterns above vary in nothing else."""
    parts = template.replace("\\n", "\n").split("'")
    return "'".join(
        part.replace(" ", "") if i % 2 == 0 else part for i, part in enumerate(parts)
    ).encode()


PATTERNS = _patterns()


class TemplateScanner(Struct):
    """Reads a template's significant bytes."""

    source: Bytes
    at: usize = 0
    in_tag: bool = False
    quote: u8 = 0  # The quote of the string that we are in, 0 outside strings.
    after_dash: bool = False  # The last tag ended with a `-`.
    after_block: bool = False  # The last tag was `{% %}`.

    def next(self) -> i32:
        """The next significant byte, or END."""
        if not self.in_tag:
            self.skip_dropped_space()
        elif self.quote == 0:
            self.skip_tag_space()
        if self.at >= len(self.source):
            return END
        byte = self.source[self.at]
        self.at += 1
        if not self.in_tag:
            if byte == 0x7B and self.at < len(self.source):  # {
                self.in_tag = self.source[self.at] in b"%{"
            return byte
        return self.next_in_tag(byte)

    def next_in_tag(self, byte: u8) -> i32:
        """Follow strings and the end of the tag."""
        if self.quote != 0:
            if byte == 0x5C and self.at < len(self.source) and self.source[self.at] == 0x6E:
                self.at += 1
                return 0x0A
            if byte != self.quote:
                return byte
            self.quote = 0
            return QUOTE
        if byte in b"'\"":
            self.quote = byte
            return QUOTE
        if byte in b"%}" and self.at < len(self.source) and self.source[self.at] == 0x7D:
            self.after_block = byte == 0x25
            self.after_dash = self.at >= 2 and self.source[self.at - 2] == 0x2D
        elif byte == 0x7D and self.source[self.at - 2] in b"%}":
            self.in_tag = False
        return byte

    def skip_tag_space(self) -> None:
        """Skip blanks in a tag, and the `-` at its ends."""
        while self.at < len(self.source):
            byte = self.source[self.at]
            if byte == 0x2D:
                opens = self.at >= 2 and self.source[self.at - 2] == 0x7B
                rest = self.source[self.at + 1 :]
                if not opens and not rest.startswith(b"%}") and not rest.startswith(b"}}"):
                    return
            elif byte not in b" \n\t\r":
                return
            self.at += 1

    def skip_dropped_space(self) -> None:
        """Skip white space between tags where Jinja drops it."""
        end = self.at
        line_ends = 0
        while end < len(self.source) and self.source[end] in b" \n\t\r":
            if self.source[end] == 0x0A:
                line_ends += 1
            end += 1
        if end == self.at:
            return
        rest = self.source[end:]
        dropped = self.after_dash or rest.startswith(b"{%-") or rest.startswith(b"{{-")
        if self.after_block and line_ends == 1 and self.source[self.at] == 0x0A:
            dropped = dropped or end == self.at + 1 or rest.startswith(b"{%")
        if dropped:
            self.at = end

    def read_text(self, out: Slice[u8]) -> i64:
        """Read string text up to END_MARK into `out`. Its length, or -1 when it is not plain."""
        length: usize = 0
        while self.at < len(self.source) and length < len(out):
            if self.source[self.at :].startswith(END_MARK):
                return i64(length)
            byte = self.source[self.at]
            if byte == self.quote:
                return -1
            self.at += 1
            if byte == 0x5C:  # A backslash: only \n is understood.
                if self.at >= len(self.source) or self.source[self.at] != 0x6E:
                    return -1
                self.at += 1
                byte = 0x0A
            out[length] = byte
            length += 1
        return -1
