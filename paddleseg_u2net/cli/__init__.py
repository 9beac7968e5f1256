"""The commands: flags -> objects -> one call. Each module is one command with a `main(argv)`."""
