"""The Grafana dashboard of deploy/, drawn without Grafana from a real run."""
