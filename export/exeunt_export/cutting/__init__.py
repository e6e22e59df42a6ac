"""Where members can be cut, the cuts, and the check that segments equal the member."""
