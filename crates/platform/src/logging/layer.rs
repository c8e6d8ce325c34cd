//! Applies the bound on log lines to the events of `tracing`.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, error, info, warn};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::limit::{LineLimiter, Suppressed, Verdict, Weight};

/// Target of the lines with counts, which pass always.
const COUNTS: &str = "suppressed";
/// Longest text (bytes) that a count quotes of a line.
const EXAMPLE_LENGTH: usize = 200;
/// Longest wait for the next count, and for the first one.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// A place in the code that logs.
#[derive(Debug, Clone)]
struct Place {
    id: Identifier,
    metadata: &'static Metadata<'static>,
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Place {}

impl std::hash::Hash for Place {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

/// Holds back lines of INFO and above of which too many came. DEBUG and TRACE are there only if `RUST_LOG` names them, by a
/// user who wants each line.
#[derive(Debug, Clone, Default)]
pub(super) struct BoundedLines(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limiter: Mutex<LineLimiter<Place>>,
    suppressed: Condvar,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            limiter: Mutex::new(LineLimiter::new()),
            suppressed: Condvar::new(),
        }
    }
}

impl<S: Subscriber> Layer<S> for BoundedLines {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO || metadata.target() == COUNTS {
            return true;
        }
        let weight = match *metadata.level() {
            Level::ERROR => Weight::Grave,
            _ => Weight::Usual,
        };
        let place = Place {
            id: metadata.callsite(),
            metadata,
        };
        let verdict = self.0.limiter().judge(&place, weight, Instant::now());
        if verdict == Verdict::First {
            // Formatted without the lock, since a panic there would be logged.
            let message = message_of(event);
            self.0.limiter().quote(&place, message);
            self.0.suppressed.notify_one();
        }
        verdict == Verdict::Passes
    }
}

impl BoundedLines {
    /// Starts the thread that logs the counts. It lives as long as the program.
    pub(super) fn log_counts(&self) -> std::io::Result<()> {
        let shared = Arc::clone(&self.0);
        let run = move || {
            loop {
                for (place, suppressed) in shared.wait_for_counts() {
                    log_count(&place, &suppressed);
                }
            }
        };
        thread::Builder::new()
            .name("log counts".to_owned())
            .spawn(run)
            .map(drop)
    }

    /// Logs all counts, also those that are not due: the program ends.
    pub(super) fn log_last_counts(&self) {
        let counts = self.0.limiter().take_all();
        for (place, suppressed) in counts {
            log_count(&place, &suppressed);
        }
    }
}

impl Shared {
    fn limiter(&self) -> MutexGuard<'_, LineLimiter<Place>> {
        self.limiter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until counts may be due, and returns those that are.
    fn wait_for_counts(&self) -> Vec<(Place, Suppressed)> {
        let limiter = self.limiter();
        let now = Instant::now();
        let wait = limiter
            .next_due()
            .map_or(LONGEST_WAIT, |due| due.saturating_duration_since(now));
        // A first suppressed line wakes it to learn when its count is due.
        let woken = self.suppressed.wait_timeout(limiter, wait);
        let (mut limiter, _) = woken.unwrap_or_else(PoisonError::into_inner);
        limiter.take_due(Instant::now())
    }
}

fn log_count(place: &Place, suppressed: &Suppressed) {
    let Suppressed { count, example, .. } = suppressed;
    let (file, line) = (place.metadata.file(), place.metadata.line());
    let at = format!("{}:{}", file.unwrap_or("?"), line.unwrap_or(0));
    macro_rules! log {
        ($level:ident) => {
            $level!(target: COUNTS, count, first = example, at, "more log lines of this kind came in a minute than are written")
        };
    }
    match *place.metadata.level() {
        Level::ERROR => log!(error),
        Level::WARN => log!(warn),
        _ => log!(info),
    }
}

/// Returns an event's message, cut.
fn message_of(event: &Event<'_>) -> String {
    struct Message(String);
    impl Visit for Message {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            if field.name() == "message" {
                self.0 = format!("{value:?}");
            }
        }
    }
    let mut message = Message(String::new());
    event.record(&mut message);
    let Message(mut text) = message;
    text.truncate(text.floor_char_boundary(EXAMPLE_LENGTH));
    text
}
