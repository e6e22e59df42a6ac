"""One, two and three replicas behind the balancer."""
