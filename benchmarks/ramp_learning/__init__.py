"""What ramps that learn in service gain on a bag of published weights: latency, agreement, rows that may leave."""
