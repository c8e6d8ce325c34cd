//! Logs go to standard error: standard output belongs to `--report` and to `--detections -`.

mod one_line;

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use self::one_line::OneLine;
use crate::config::LogFormat;

/// Starts logging. `RUST_LOG` selects the events; without it they are INFO and above.
pub fn init(format: LogFormat) {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,ort=warn"));
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colour)
        // With a closed standard error the default is a panic inside the log call.
        .log_internal_errors(false)
        .with_target(false);
    match format {
        LogFormat::Text => builder
            .with_writer(move || OneLine::new(io::stderr(), colour))
            .init(),
        // JSON has escapes of its own.
        LogFormat::Json => builder.with_writer(io::stderr).json().init(),
    }
}
