"""From the boot loader to `kernel_main`."""
