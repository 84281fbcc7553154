"""Every bound of the network stack, each with its reason.

Times are nanoseconds. `now_ns` is whatever monotonic clock the caller has; only differences count.
"""

MILLISECOND = 1_000_000
SECOND = 1_000_000_000
NEVER = (1 << 63) - 1  # A deadline that is not reached in 292 years.
NO_SLOT = 0xFFFF_FFFF  # "None" for slot numbers, which stay far below it.

# Ethernet and IPv4.
MTU = 1500  # Ethernet II payload.
ETHERNET_BYTES = 14
IPV4_BYTES = 20  # We send no IP options.
TCP_BYTES = 20
UDP_BYTES = 8
FRAME_MAX = MTU + ETHERNET_BYTES
FRAME_MIN = 60  # Shorter frames are padded (IEEE 802.3, 64 with the frame check sequence).
DEFAULT_TTL = 64  # RFC 1700.

# ARP.
ARP_ENTRIES = 64  # A server talks to its gateway and to a few hosts on its link.
ARP_LIFETIME = 60 * SECOND
ARP_REFRESH_AFTER = 30 * SECOND  # Ask again while the old answer is still used.
ARP_RETRY = 1 * SECOND
ARP_TRIES = 3
ARP_DEFEND_INTERVAL = 10 * SECOND  # RFC 5227, DEFEND_INTERVAL.

# Frames made while receiving (echo replies, ARP, DHCP), kept until the driver takes them.
FRAME_SLOTS = 32
UNRESOLVED_SLOTS = 8  # How many of them may wait for a neighbour.
UNRESOLVED_LIFETIME = 3 * SECOND
UDP_SOCKETS = 4
UDP_DATAGRAMS = 8  # Received and not yet read, a socket.
UDP_DATAGRAM_BYTES = 1472  # What fits one frame; we refuse fragments.

ICMP_ERRORS_PER_SECOND = 100
TCP_RESETS_PER_SECOND = 1000

# TCP.
LISTEN_PORTS = 8
ACCEPT_BACKLOG = 1024
SYN_QUEUE = 1024  # 72 bytes each; RFC 4987 section 3.
SYN_RETRIES = 5  # 1 + 2 + 4 + 8 + 16 + 32 s.
TIME_WAIT_ENTRIES = 4096
TIME_WAIT_TIME = 60 * SECOND  # 2 MSL with an MSL of 30 s, as most systems have it.
STRAY_REPLIES = 256  # Segments that belong to no connection: SYN-ACK, RST, ACK of TIME_WAIT.
MSS_DEFAULT = 536  # RFC 9293 section 3.7.1: when the peer names none.
MSS_MIN = 64  # A peer that asks for less only wants us to waste CPU.
MSS_MAX = MTU - IPV4_BYTES - TCP_BYTES
WINDOW_SCALE_MAX = 14  # RFC 7323 section 2.3.
STAMP_BYTES = 12  # The timestamps option and what aligns it (RFC 7323 appendix A).
STAMP_LIFETIME = 24 * 24 * 3600 * SECOND  # RFC 7323 section 5.5.
INITIAL_WINDOW_SEGMENTS = 10  # RFC 6928.
CWND_MAX = 1 << 28
INTERVALS = 16  # Holes remembered each way; further ones are simply sent again.
DUPLICATE_ACKS = 3  # RFC 5681 section 3.2.

RTO_INITIAL = 1 * SECOND  # RFC 6298 section 2.1.
RTO_MAX = 60 * SECOND
RTO_SYN_LOST = 3 * SECOND  # RFC 6298 section 5.7.
# RFC 6298 asks for a floor of 1 s. Like Linux we bound the variance term instead, which leaves
# room for a peer that delays its ACK by 200 ms and repairs a lost token five times faster.
RTO_VARIANCE_MIN = 200 * MILLISECOND
DELAYED_ACK = 40 * MILLISECOND
CHALLENGE_INTERVAL = 100 * MILLISECOND  # RFC 5961 section 7, per connection: no side channel.
USER_TIMEOUT = 100 * SECOND  # RFC 1122 section 4.2.3.5, R2: no progress on sent data.
ORPHAN_TIMEOUT = 60 * SECOND  # FIN_WAIT_2 with nobody left to read.
KEEPALIVE_IDLE = 75 * SECOND
KEEPALIVE_INTERVAL = 15 * SECOND
KEEPALIVE_PROBES = 5
EPHEMERAL_FIRST = 49152  # RFC 6335.
EPHEMERAL_COUNT = 16384
EPHEMERAL_TRIES = 64

# DHCP (RFC 2131).
DHCP_RETRY_FIRST = 2 * SECOND  # The RFC suggests 4; a lost first packet should not cost that much.
DHCP_RETRY_MAX = 64 * SECOND
DHCP_REQUEST_TRIES = 4
DHCP_RENEW_RETRY_MIN = 60 * SECOND
DHCP_MESSAGE_BYTES = 300  # RFC 1542 section 2.1: the smallest that every relay passes.
DHCP_LEASE_DEFAULT = 3600  # Seconds, when a server names none.
DHCP_CONFLICT_TIME = 2 * SECOND  # How long after binding a conflict still declines the lease.
