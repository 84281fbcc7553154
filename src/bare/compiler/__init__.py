"""The compiler: typed Python modules to machine code, through LLVM."""
