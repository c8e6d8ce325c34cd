//! The window on a Sightline relay, and on a tutorial's.
//!
//! ```text
//!   background (tokio, one thread)                     main thread, since windows must live there
//!   relay's name -> address                             newest frame -> decode -> resize -> window
//!   socket, hello, Request -> every frame -> [slot of one, newest wins] ->      --save, --shown, --record
//!                             Status ------> [watch] --------------------->  HUD, log, --report
//! ```
//!
//! `stream`, `situation` and the text of `hud` are pure and decide; `receive`, `show` and `window` act.

pub mod args;
mod files;
mod hud;
mod receive;
mod record;
mod show;
mod situation;
mod stream;
mod window;

use std::time::Duration;

use anyhow::Context as _;
use platform::latest::latest;
use platform::server::follow;
use platform::{jpeg, report, signals};

use crate::args::Args;
use crate::files::Files;
use crate::show::Show;
use crate::window::Screen;

/// How long a lookup of the relay's name may hold up the end of the program.
const LINGER: Duration = Duration::from_millis(100);

/// Runs the viewer until its window is closed, `--frames` are shown or a signal comes.
///
/// # Errors
/// Where no window or file can be opened.
pub fn run(args: &Args) -> anyhow::Result<()> {
    jpeg::single_threaded()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("starting the background thread")?;
    let inside = runtime.enter();
    let stop = signals::stop_on_signals()?;
    let files = Files::open(args)?;
    let screen = (!args.headless).then(|| Screen::open(args)).transpose()?;
    let (putter, frames) = latest();
    let status = receive::start(follow(args.host()), putter);
    let outcome = Show::new(args, frames, status, files, screen).run(&stop);
    drop(inside);
    runtime.shutdown_timeout(LINGER);
    let totals = outcome?;
    if args.common.report {
        report::print(&totals);
    }
    Ok(())
}
