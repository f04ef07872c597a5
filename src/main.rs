//! The executable: parse, dispatch, print the error chain once, choose the exit code.

fn main() {}
