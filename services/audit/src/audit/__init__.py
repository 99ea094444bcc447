"""The audit service: a record that nobody can alter unseen."""
