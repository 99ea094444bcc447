"""Other gateways beside PeanutAgent, in the same run, against the same provider (`make bench-peers`)."""
