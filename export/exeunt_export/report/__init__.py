"""What an export did and what to expect of it."""
