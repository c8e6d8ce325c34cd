//! The shell that Sightline's three programs share: configuration, logs, signals, sockets, the newest-wins slot, the
//! base of `doctor`, the service manager.
//!
//! A module belongs here only if a second program needs it. None knows its users.

pub mod clock;
pub mod config;
pub mod directories;
pub mod doctor;
pub mod egress;
#[cfg(feature = "http-client")]
pub mod http_client;
pub mod kernel;
pub mod latest;
pub mod line_file;
pub mod logging;
pub mod recording;
pub mod relaunch;
pub mod report;
pub mod server;
pub mod service;
pub mod signals;
pub mod state_dir;
pub mod trusted_path;
pub mod udp;
pub mod version;

use std::process::ExitCode;

/// Logs a failure with its whole chain of causes as one line, and returns the program's exit code.
pub fn exit(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            tracing::error!("{err:#}");
            ExitCode::FAILURE
        }
    }
}
