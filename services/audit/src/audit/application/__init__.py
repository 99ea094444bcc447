"""What the audit service does: append, answer queries, watch over the log, conclude what nobody concluded."""
