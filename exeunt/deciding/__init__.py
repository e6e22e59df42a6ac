"""Votes, confidence, and the controller that lets answers leave."""
