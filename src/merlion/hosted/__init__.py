"""The engine and the server in one Linux process: the other composition root beside `kernel`.

Ordinary Python does the I/O and owns the memory; everything of `engine` and `serve` runs compiled,
without the interpreter lock.
"""
