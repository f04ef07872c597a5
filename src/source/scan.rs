//! From what a command line names to a list of files.
