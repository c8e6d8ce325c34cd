//! Starts the program anew in the same process.

use std::env;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::logging;

/// Replaces this program by a new start of itself, with the same words, standard error as it was, and these environment
/// variables as well: a program cannot set one for itself safely. Process id and service stay the same.
///
/// Returns only the error of a failure.
pub fn relaunch(variables: &[(&str, &str)]) -> io::Error {
    match env::current_exe() {
        Ok(program) => Command::new(program)
            .args(env::args_os().skip(1))
            .envs(variables.iter().copied())
            .stderr(logging::standard_error())
            .exec(),
        Err(err) => err,
    }
}
