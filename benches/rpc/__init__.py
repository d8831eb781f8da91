"""What calls cost, beside Go's and those of others: ``python -m benches.rpc``."""
