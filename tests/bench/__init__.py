"""How fast PeanutAgent is, beside the bare upstream and the least Python that does the job (`make bench`)."""
