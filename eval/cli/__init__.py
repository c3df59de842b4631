"""What the user says and is told: options, the command line, errors in one line, progress."""
