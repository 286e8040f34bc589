"""The process that runs untrusted programs. It imports the standard library only, and nothing of an evaluation."""
