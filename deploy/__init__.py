"""How PeanutAgent is run: the bus's configuration, the locks and the local runner."""
