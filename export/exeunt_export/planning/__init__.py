"""What is decided before anything is cut for good: members opened and timed, cuts and exits chosen within a budget."""
