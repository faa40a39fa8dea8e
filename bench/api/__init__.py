"""The Python interface: what the command line is made of. Prints nothing and never exits."""
