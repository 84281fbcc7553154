"""Every bound of the server, with its reason. All buffers are carved once, at start."""

KIB = 1024
MIB = 1024 * KIB
SECOND_NS = 1_000_000_000

# Connections. Each costs its input and output buffer below, nothing else.
CONNECTIONS_MAX = 64

# HTTP heads. Real clients behind proxies send cookies and tracing headers; 16 KiB and 100 fields
# is what nginx, Node and Go accept by default or more.
HEAD_BYTES_MAX = 16 * KIB
REQUEST_LINE_BYTES_MAX = 8 * KIB
HEADER_COUNT_MAX = 100
# A chunk-size line with its extensions, and all trailer fields together.
CHUNK_LINE_BYTES_MAX = 256
TRAILER_BYTES_MAX = 8 * KIB

# The head and a small body share one buffer; a larger body moves to the shared large buffer.
INPUT_BYTES = 64 * KIB
assert INPUT_BYTES >= 2 * HEAD_BYTES_MAX
OUTPUT_BYTES = 32 * KIB
# One shared buffer for bodies that do not fit: 32 MiB is what long contexts with pasted files need.
LARGE_BODY_BYTES = 32 * MIB
# A document built before it is sent: /metrics, /props, one SSE event.
SCRATCH_BYTES = 24 * KIB

# JSON. Tool schemas nest about 20 deep; the stack is one byte a level.
JSON_DEPTH_MAX = 64

# Text of one event. Escaping grows a byte to at most six, so an event fits EVENT_ROOM_BYTES.
EVENT_TEXT_BYTES_MAX = 512
# The model's id, which every event repeats, is in the 1,024 bytes.
MODEL_NAME_BYTES_MAX = 96
EVENT_ROOM_BYTES = 6 * EVENT_TEXT_BYTES_MAX + 1024
assert EVENT_ROOM_BYTES < OUTPUT_BYTES
MESSAGES_MAX = 4096

# Timers. A client has this long for the whole head; a body, and our replies, must move every so
# often and at the rate below on the whole; a kept-alive connection may be silent for the idle time.
HEAD_TIMEOUT_NS = 20 * SECOND_NS
BODY_TIMEOUT_NS = 30 * SECOND_NS
WRITE_TIMEOUT_NS = 60 * SECOND_NS
# 32 kbit/s: any line that a person would use; 12,000 tokens of a stream are there in ten minutes.
RATE_BYTES_MIN = 4 * KIB
# How long a request waits for the shared large buffer before it is told to come back.
LARGE_WAIT_NS = 10 * SECOND_NS
IDLE_TIMEOUT_NS = 75 * SECOND_NS
# When all places are taken, a connection idle for this long makes way for a new one.
IDLE_KEPT_NS = SECOND_NS
# Comment lines while a stream is silent: proxies give up after 30 to 60 s.
KEEP_ALIVE_NS = 10 * SECOND_NS
# After our last byte the peer may still be sending; we read and drop that for this long.
LINGER_NS = 2 * SECOND_NS

RETRY_AFTER_SECONDS = 2
