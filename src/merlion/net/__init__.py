"""The network stack: Ethernet to TCP, sans IO."""
