//! Sends a camera's pictures to a relay.

use std::process::ExitCode;

use pi_sender::args::Args;
use pi_sender::preview;
use platform::config::{self, Task};
use platform::logging;

fn main() -> ExitCode {
    preview::exit_if_display_probe();
    let args: Args = config::parse_or_wait(Args::check);
    let _logging = logging::init(args.common.log_format);
    config::warn_of_unknown_variables::<Args>();
    match args.common.task {
        Some(Task::Doctor) => pi_sender::doctor::run(&args),
        None => platform::exit(pi_sender::run(&args)),
    }
}
