//! `relay-server`: see the library.

use std::process::ExitCode;

use platform::config::{self, Task};
use platform::logging;
use relay_server::args::Args;
use relay_server::ticket_command;
use tracing::warn;

fn main() -> ExitCode {
    if let Some(words) = ticket_command::words() {
        return ticket_command::run(words);
    }
    let args = Args::of_process();
    // Before the log begins: it starts the program anew, which would log its first lines twice.
    let telemetry = relay_server::silence_telemetry(&args);
    let _logging = logging::init(args.common.log_format);
    if let Err(err) = telemetry {
        warn!(%err, "ONNX Runtime's telemetry could not be turned off");
    }
    config::warn_of_unknown_variables::<Args>();
    match args.common.task {
        Some(Task::Doctor) => relay_server::doctor::run(&args),
        None => platform::exit(relay_server::run(&args)),
    }
}
