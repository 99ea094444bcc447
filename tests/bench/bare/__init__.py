"""The least Python over NATS that answers a dispatch with a recorded receipt: what PeanutAgent is compared with.

Edge (key check) -> worker (upstream call, awaited append) -> audit (durable append), each a process of its own. No
roles, limits, validation, health, retries, tracing or hash chain: the difference is the price of those.
"""
