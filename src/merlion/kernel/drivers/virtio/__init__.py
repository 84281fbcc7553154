"""Virtio 1.2: two transports, one split ring, two devices."""
