//! The window on a Sightline relay, and on a tutorial's.
//!
//! ```text
//!   background (tokio, one thread)                     main thread, since windows must live there
//!   relay's name -> address                             newest frame -> decode -> resize -> boxes -> window
//!   plain or native door --> every frame -> [slot of one, newest wins] ->      --save, --shown, --record
//!                            boxes ------> [the last few] ------------------>  on the picture, which waits for its own
//!                            Status -----> [watch] ------------------------->  HUD, log, --report
//! ```
//!
//! `age`, `overlay`, `stream`, `situation`, `receive::hunt` and the text of `hud` are pure and decide; `board`, the rest of
//! `receive`, `show` and `window` act.

mod age;
pub mod args;
mod board;
pub mod doctor;
mod files;
mod hud;
mod overlay;
mod picture;
mod receive;
mod record;
mod show;
mod situation;
mod stream;
mod window;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use imaging::jpeg;
use platform::latest::latest;
use platform::server::watch_address;
use platform::{report, signals};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::args::Args;
use crate::board::Board;
use crate::files::Files;
use crate::receive::Plan;
use crate::show::{Show, Sources};
use crate::window::Screen;

/// How long a lookup of the relay's name, or a relay that does not hear our good-bye, may hold up the end of the program.
const LINGER: Duration = Duration::from_millis(200);

/// Runs the viewer until its window is closed, `--frames` are shown or a signal comes.
///
/// # Errors
/// Where no window or file can be opened, and where the relay lets us not in.
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
    let board = Arc::new(Board::default());
    let leave = CancellationToken::new();
    let plan = Plan::of(args);
    let address = watch_address(plan.host.clone());
    let (status, receiving) = receive::start(plan, address, putter, board.clone(), leave.clone());
    let sources = Sources {
        frames,
        board,
        status,
    };
    let outcome = Show::new(args, sources, files, screen).run(&stop);
    drop(inside);
    leave.cancel();
    let _ = runtime.block_on(async { timeout(LINGER, receiving).await });
    runtime.shutdown_timeout(LINGER);
    let totals = outcome?;
    if args.common.report {
        report::print(&totals);
    }
    Ok(())
}
