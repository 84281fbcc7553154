"""LLM inference: GGUF files, text, kernels, sampling. Pure: bytes in, bytes out."""
