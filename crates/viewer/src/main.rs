//! The `viewer` program: arguments and logs here, the rest in the library.

use std::process::ExitCode;

use platform::{config, logging, window};
use viewer::args::Args;

fn main() -> ExitCode {
    window::answer_probe();
    let args = config::parse(Args::check);
    logging::init(args.common.log_format);
    platform::exit(viewer::run(&args))
}
