//! The program under test.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where it is: `LIFEBOAT_TEST_BIN`, or the one that was built with these tests.
pub(crate) fn path() -> PathBuf {
    let built = || {
        let tests = std::env::current_exe().unwrap();
        tests.parent().and_then(Path::parent).unwrap().join("lifeboat")
    };
    let program = std::env::var_os("LIFEBOAT_TEST_BIN").map_or_else(built, PathBuf::from);
    assert!(program.is_file(), "{} is not there: run `cargo build` first", program.display());
    program
}

/// A run of it that sees none of the variables of whoever runs the tests.
pub(crate) fn lifeboat() -> Command {
    let mut command = Command::new(path());
    command.env_clear().stdin(Stdio::null());
    command
}
