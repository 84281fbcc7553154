"""What a request asks of generation. Defaults are llama-server's."""

from bare import Array, Bytes, Struct, array, f32, u8, u32, u64
from merlion.engine.limits import STOP_BYTES_MAX, STOP_STRINGS_MAX


class StopString(Struct):
    """One stop string, copied in."""

    length: u32
    bytes: Array[u8] = array(STOP_BYTES_MAX)

    def text(self) -> Bytes:
        """The string."""
        return self.bytes[: self.length]


class GenerateParams(Struct):
    """Order of the sampler: penalties, top_k, top_p, min_p, temperature."""

    max_tokens: u32 = 0xFFFF_FFFF  # As many as the context holds.
    temperature: f32 = 0.8  # 0 or below: always the likeliest token.
    top_k: u32 = 40  # 0: all.
    top_p: f32 = 0.95  # 1 or above: all.
    min_p: f32 = 0.05  # 0 or below: all.
    repeat_penalty: f32 = 1.0
    presence_penalty: f32 = 0.0
    frequency_penalty: f32 = 0.0
    penalty_last_n: u32 = 64  # Tokens the penalties look back on; 0: none.
    seed: u64 = 0
    ignore_eos: bool = False
    cache_prompt: bool = False  # Reuse what the cache still holds of the same first tokens.
    stop_count: u32 = 0
    stop: Array[StopString] = array(STOP_STRINGS_MAX)

    def set_stop(self, i: u32, text: Bytes) -> bool:
        """Copy stop string `i`. False when it is empty, too long, or one too many."""
        if i >= STOP_STRINGS_MAX or len(text) == 0 or len(text) > STOP_BYTES_MAX:
            return False
        entry = self.stop[i]
        entry.bytes[: len(text)].copy_from(text)
        entry.length = u32(len(text))
        self.stop_count = max(self.stop_count, i + 1)
        return True
