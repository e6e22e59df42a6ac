"""`exeunt check`: what can be known about a repository without a server."""
