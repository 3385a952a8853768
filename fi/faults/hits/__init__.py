"""Many faults at once: bits of whole memories, as arrays instead of one object a fault."""
