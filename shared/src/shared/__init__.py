"""The kernel every service stands on, the bus, and the contracts that cross it."""

VERSION = "0.1.0"
