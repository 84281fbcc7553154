"""What differs between CPU architectures."""
