//! `relay-server`: see the library.

use std::process::ExitCode;

use platform::{config, logging};
use relay_server::args::Args;

fn main() -> ExitCode {
    let args = config::parse(Args::check);
    logging::init(args.common.log_format);
    platform::exit(relay_server::run(&args))
}
