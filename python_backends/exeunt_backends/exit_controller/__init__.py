"""The exit controller NAME_exit."""
