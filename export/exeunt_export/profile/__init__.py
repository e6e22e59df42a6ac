"""Times of nodes, segments and heads, measured on this machine."""
