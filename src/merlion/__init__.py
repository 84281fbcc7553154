"""MerlionOS Inference: everything that is not the language itself."""
