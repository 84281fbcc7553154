"""The kernel: composition root on bare metal. See main.py for the boot order."""
