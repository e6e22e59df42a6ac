"""What it would cost, and save, to end stages of ensemble mode inside members."""
