//! Logs go to standard error: standard output belongs to `--report` and to `--detections -`.
//!
//! What peers do can fill no disk: ten lines of a kind pass a minute, a hundred of all kinds, and one line a minute counts
//! the others. What C and C++ libraries write to standard error is logged as DEBUG where that is not a
//! terminal. Lines of DEBUG and TRACE have no bound: they are there only if `RUST_LOG` asks for each of them.
//!
//! Where systemd has connected standard error to its journal, the text log goes there with its values as fields, by the same
//! filter and bounds.

mod filter;
mod journal;
mod layer;
mod limit;
mod one_line;
mod stderr;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;
use std::panic;
use std::process::Stdio;
use std::sync::{Arc, OnceLock};
use std::thread;

use tracing::{error, warn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

use self::journal::Journal;
use self::layer::BoundedLines;
use self::one_line::OneLines;
use self::stderr::Redirected;
use crate::config::LogFormat;

/// Logging. Dropped at the program's end, it logs what is left and gives standard error back.
#[derive(Debug)]
#[must_use = "dropping it ends the redirection of standard error"]
pub struct Logging {
    lines: BoundedLines,
    redirected: Option<Redirected>,
}

/// Standard error as it was before its redirection.
static ORIGINAL: OnceLock<Arc<File>> = OnceLock::new();

/// Returns standard error as it was at the start, for a program that takes this one's place: the thread that reads the
/// redirected one ends with this program.
pub fn standard_error() -> Stdio {
    let original = ORIGINAL
        .get()
        .and_then(|original| original.try_clone().ok());
    original.map_or_else(Stdio::inherit, Stdio::from)
}

/// Starts logging. `RUST_LOG` selects the events; without it, and where it cannot be used, they are INFO and above, and of
/// ONNX Runtime WARN and above.
pub fn init(format: LogFormat) -> Logging {
    let lines = BoundedLines::default();
    let redirected = match io::stderr().as_fd().try_clone_to_owned() {
        Ok(original) => {
            let original = Arc::new(File::from(original));
            subscribe(format, &lines, Arc::clone(&original));
            log_panics(Arc::clone(&original));
            redirect(original)
        }
        Err(err) => {
            subscribe(format, &lines, io::stderr);
            Err(err)
        }
    };
    let redirected = redirected
        .inspect_err(|err| warn!("lines of libraries on standard error are not filtered: {err}"))
        .unwrap_or_default();
    if let Err(err) = lines.log_counts() {
        warn!("log lines that are left out are counted at the program's end alone: {err}");
    }
    Logging { lines, redirected }
}

impl Drop for Logging {
    fn drop(&mut self) {
        drop(self.redirected.take());
        self.lines.log_last_counts();
    }
}

fn subscribe<W>(format: LogFormat, lines: &BoundedLines, out: W)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, mistake) = filter::filter(std::env::var_os(EnvFilter::DEFAULT_ENV).as_deref());
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let layer = fmt::layer()
        .with_ansi(colour)
        // With a closed standard error the default is a panic inside the log call.
        .log_internal_errors(false)
        .with_target(false);
    // A journal that cannot be reached gets the lines as text, through standard error.
    let journal = journal::is_journal(io::stderr())
        .then(Journal::open)
        .and_then(Result::ok);
    let layer = match format {
        LogFormat::Text if let Some(journal) = journal => journal.boxed(),
        LogFormat::Text => layer.with_writer(OneLines::new(out, colour)).boxed(),
        // JSON has escapes of its own.
        LogFormat::Json => layer.with_writer(out).json().boxed(),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(lines.clone())
        .with(layer)
        .init();
    if let Some(mistake) = mistake {
        warn!("{mistake}");
    }
}

/// Redirects what libraries write, unless it goes to a terminal: no disk fills up there, and the last words of a library
/// that ends the process at once (Qt, the C library) are lost nine times in ten on their way through a pipe.
fn redirect(original: Arc<File>) -> io::Result<Option<Redirected>> {
    if original.is_terminal() {
        return Ok(None);
    }
    let original = ORIGINAL.get_or_init(|| original);
    let (redirected, stray) = stderr::redirect(Arc::clone(original))?;
    stray.log()?;
    Ok(Some(redirected))
}

/// Logs panics: what the default hook writes to standard error would be a library's line.
fn log_panics(out: Arc<File>) {
    panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(ToString::to_string);
        let thread = thread::current();
        error!(
            thread = thread.name().unwrap_or("?"),
            at = place.unwrap_or_default(),
            "panicked: {}; this is a defect of the program, please report it",
            panic.payload_as_str().unwrap_or("no reason given")
        );
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            // There is nothing left to report a failure to.
            let _ = writeln!(&*out, "{backtrace}");
        }
    }));
}
