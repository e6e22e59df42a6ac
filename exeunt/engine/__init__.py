"""The members' segments run in the controller's own process."""
