"""Which schedule is best at which load, in simulated time."""
