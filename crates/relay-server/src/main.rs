//! `relay-server`: see the library.

use std::process::ExitCode;

use platform::config::{self, Task};
use platform::logging;
use relay_server::args::Args;

fn main() -> ExitCode {
    let args = Args::of_process();
    let _logging = logging::init(args.common.log_format);
    config::warn_of_unknown_variables::<Args>();
    match args.common.task {
        Some(Task::Doctor) => relay_server::doctor::run(&args),
        None => platform::exit(relay_server::run(&args)),
    }
}
