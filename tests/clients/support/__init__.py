"""What every test stands on: the two processes, the record, the client's clock and its traffic."""
