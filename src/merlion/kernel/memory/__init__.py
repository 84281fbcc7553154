"""Physical memory: what there is and who owns it."""
