"""Transparency logs as C2SP and RFC 6962 have them: trees, proofs, tiles, signed notes and checkpoints. No I/O."""
