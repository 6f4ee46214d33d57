"""What a command line needs: arguments, errors that end in one line, and signals."""
