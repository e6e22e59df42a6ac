"""Foreign model files, read and brought into one form."""
