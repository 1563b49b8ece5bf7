//! The lifeboat command: arguments, output, progress, exit codes.
