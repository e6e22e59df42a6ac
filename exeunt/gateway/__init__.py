"""The gateway: stands in front of a server and lets callers reach its public models, and nothing else."""
