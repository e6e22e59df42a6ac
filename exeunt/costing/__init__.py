"""What an answer costs: deployments simulated with a bag's profile, its exits' shares, and a table of prices."""
