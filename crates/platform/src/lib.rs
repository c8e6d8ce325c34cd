//! What Sightline's three programs share that touches the world: configuration, logs, signals, sockets, codec, windows.
//!
//! A thing enters here only when a second program needs it. Nothing here knows who uses it.

pub mod clock;
pub mod config;
pub mod directories;
pub mod doctor;
pub mod egress;
pub mod kernel;
pub mod latest;
pub mod logging;
pub mod report;
pub mod server;
pub mod signals;
pub mod udp;

use std::process::ExitCode;

/// Ends a program: the failure's whole chain of causes as one log line, and the exit code that tells a script.
pub fn exit(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            tracing::error!("{err:#}");
            ExitCode::FAILURE
        }
    }
}
