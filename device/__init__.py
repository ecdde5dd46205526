"""What runs on a board, and the host's tools for it: building, running under emulation, verifying, counting."""
