//! The `viewer` program: arguments and logs here, the rest in the library.

use std::process::ExitCode;

use imaging::window;
use platform::config::{self, Task};
use platform::logging;
use viewer::args::Args;

fn main() -> ExitCode {
    window::exit_if_display_probe();
    let args = config::parse(Args::check);
    let _logging = logging::init(args.common.log_format);
    config::warn_of_unknown_variables::<Args>();
    match args.common.task {
        Some(Task::Doctor) => viewer::doctor::run(&args),
        None => platform::exit(viewer::run(&args)),
    }
}
