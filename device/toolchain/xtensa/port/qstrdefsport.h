// The port has no names of its own.
