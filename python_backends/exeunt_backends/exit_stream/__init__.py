"""The vote of the baseline NAME_full."""
