"""x86-64: descriptors, exceptions, page tables, clock, cores."""
