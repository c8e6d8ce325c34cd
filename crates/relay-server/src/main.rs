//! `relay-server`: see the library.

use std::process::ExitCode;

use platform::{config, logging};
use relay_server::args::RelayArgs;

fn main() -> ExitCode {
    let args = config::parse(RelayArgs::check);
    logging::init(args.common.log_format);
    platform::exit(relay_server::run(&args))
}
