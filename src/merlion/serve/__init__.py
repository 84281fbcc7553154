"""The HTTP server and the OpenAI API, sans IO: bytes in, bytes out, time as an argument."""
