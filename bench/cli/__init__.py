"""The command line: one file a group of commands. Parses, calls, prints and sets the exit code; computes nothing."""
