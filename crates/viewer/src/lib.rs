//! The window on a Sightline relay, and on a tutorial's.
//!
//! ```text
//!   background (tokio, one thread)                     main thread, since windows must live there
//!   relay's name -> address                             newest frame -> decode -> resize -> boxes -> window
//!   UDP, QUIC or HTTP     -> every frame -> [slot of one, newest wins] ->      --save, --shown, --record
//!                            boxes ------> [the last few] ------------------>  on the picture, which waits for its own
//!                            Status -----> [watch] ------------------------->  HUD, log, --report
//!   camera to connect to <------------------ [watch] <-------------------------  key n
//! ```
//!
//! `age`, `box_timeline`, `loss`, `display_stats`, `connection_state`, `next_camera`, `labels`, `receive::{options, upgrade}` and the text of `hud` are
//! pure and decide; `shared_box_timeline`, the rest of `receive`, `display` and `window` act.

mod age;
pub mod args;
mod box_timeline;
mod connection_state;
mod decoded_frame;
mod display;
mod display_stats;
pub mod doctor;
mod hud;
pub mod labels;
mod loss;
mod next_camera;
mod output_files;
mod receive;
mod shared_box_timeline;
mod window;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use imaging::jpeg;
use platform::latest::latest;
use platform::server::RelayAddress;
use platform::{report, signals};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::args::Args;
use crate::display::{DisplayInputs, DisplayLoop};
use crate::output_files::OutputFiles;
use crate::receive::ConnectOptions;
use crate::shared_box_timeline::SharedBoxTimeline;
use crate::window::ViewerWindow;

/// How long a lookup of the relay's name, or a relay that does not acknowledge the end of the connection, may delay the
/// program's end.
const LINGER: Duration = Duration::from_millis(200);

/// Runs the viewer until its window is closed, `--frames` are shown or a signal comes.
///
/// # Errors
/// When no window or file can be opened, and when the relay refuses the viewer.
pub fn run(args: &Args) -> anyhow::Result<()> {
    jpeg::single_threaded()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("starting the background thread")?;
    let inside = runtime.enter();
    let stop = signals::stop_on_signals(signals::Hangup::Stops)?;
    let files = OutputFiles::open(args)?;
    let window = (!args.headless).then(|| ViewerWindow::open(args));
    let window = window.transpose()?;
    let (sender, frames) = latest();
    let timeline = Arc::new(SharedBoxTimeline::default());
    let disconnect = CancellationToken::new();
    let options = ConnectOptions::new(args);
    let address = RelayAddress::of_server(&args.server);
    let (options, chosen) = watch::channel(options);
    let (status, receiving) = receive::start(
        chosen,
        address,
        sender,
        timeline.clone(),
        disconnect.clone(),
    );
    let inputs = DisplayInputs {
        frames,
        timeline,
        status,
        options,
    };
    let outcome = DisplayLoop::new(args, inputs, files, window).run(&stop);
    drop(inside);
    disconnect.cancel();
    let _ = runtime.block_on(async { timeout(LINGER, receiving).await });
    runtime.shutdown_timeout(LINGER);
    let totals = outcome?;
    info!(shown = %totals["shown"], lost = %totals["lost"], "stopped");
    if args.common.report {
        report::print(&totals);
    }
    Ok(())
}
