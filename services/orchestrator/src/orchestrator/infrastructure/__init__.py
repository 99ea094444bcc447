"""How it is done: SQL, sealed keys, guarded HTTP."""
