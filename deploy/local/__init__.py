"""Runs all of PeanutAgent on this machine, without root or containers: what `make up` and its companions call."""
