"""Training of any model: one loop, resumable to the bit, on one processor or all GPUs of a machine."""
