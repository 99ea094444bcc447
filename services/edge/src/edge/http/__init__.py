"""HTTP as the edge speaks it: bounded reading, one pipeline, problem details."""
