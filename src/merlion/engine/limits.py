"""Every bound of the engine, with its reason, one block a subject."""

# GGUF files (gguf.py). Counts are also bounded by the bytes the file has left.
METADATA_COUNT_MAX = 65_536  # Real files have 20 to 60 keys.
TENSOR_COUNT_MAX = 65_536  # A 128-expert model of 94 blocks has about 1,200.
TENSOR_NAME_BYTES_MAX = 64  # GGUF specification; llama.cpp refuses longer ones.
KEY_BYTES_MAX = 65_535  # GGUF specification.
DIMENSION_COUNT_MAX = 4  # GGUF specification and GGML_MAX_DIMS.
TENSOR_ELEMENTS_MAX = 1 << 48  # So that no later product of sizes leaves 64 bits.

# Hyper-parameters (hparams.py).
BLOCK_COUNT_MAX = 1_024  # The deepest published llama has 126.
HEAD_COUNT_MAX = 1_024
HEAD_SIZE_MAX = 1_024
WIDTH_MAX = 1 << 20  # Embedding and feed-forward length.
CONTEXT_LENGTH_MAX = 1 << 24

# Text (vocab.py, tokenizer.py, chat_template.py).
VOCABULARY_MAX = 1 << 20  # The largest published vocabulary has 262,144 tokens.
TOKEN_BYTES_MAX = 4_096  # Longest token text; the longest seen is 256 bytes.
PIECE_BYTES_MAX = 65_536  # One pre-token (a run of letters, of spaces); bounds the merge heap.
END_TOKENS_MAX = 16  # Tokens that end a generation.
SPECIAL_TOKENS_MAX = 16_384  # Gemma 3 has 6,400. Bounds the sorting at load.
DEFAULT_SYSTEM_BYTES_MAX = 4_096  # The system message in a chat template; the longest seen is 500.

# Sampling (sampler.py, params.py, stop.py).
PENALTY_WINDOW_MAX = 1_024  # Tokens that the penalties may look back on.
STOP_STRINGS_MAX = 4  # The OpenAI API's own bound.
STOP_BYTES_MAX = 256  # One stop string.

# Measuring (distribution.py, of the machine's shell and hosted).
HISTOGRAM_BINS = 12  # Equal ones, up to p99; one more holds what is above.

# Running (engine.py, scheduler.py).
THREAD_COUNT_MAX = 256  # One private workspace each.
SEQUENCE_COUNT_MAX = 64  # Sequences decoded together: each has its own part of the cache.
REQUEST_COUNT_MAX = 1_024  # Requests waiting or running.
BATCH_ROWS_MAX = 512  # Tokens of one forward pass; more than 64 gain nothing (matmul_int8.py).
LOGITS_ROWS_MIN = 16  # Rows of logits in one pass, for scoring given text.
PREFILL_ROWS_SHARED = 64  # Prompt tokens in a pass that also decodes: bounds inter-token time.
ANSWER_BYTES_A_TOKEN = 8  # Text room of a request: unread text beyond it pauses the request.
ANSWER_BYTES_EXTRA = 32_768  # Room for the longest piece, all of it malformed.
