"""Servers under more load than they can bear: a bag for it, callers, and what their processes hold in memory."""
