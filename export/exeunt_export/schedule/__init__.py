"""Which exits a bag has, in which order, and with which weights."""
