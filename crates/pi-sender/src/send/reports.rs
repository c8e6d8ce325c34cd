//! What the sender reports to the relay beside its frames: the clock's offset, the JPEG quality and the machine's health.

use std::time::Duration;

use protocol::health::Health;
use protocol::quic::SenderInfo;
use quic::clock::Offset;
use tokio::sync::watch;
use tokio::time::{Interval, interval};

use super::label_clock::SharedLabelClock;

/// Time between two checks whether the wall clock has stepped.
const STEP_POLL_INTERVAL: Duration = Duration::from_millis(200);

/// The reports of one connection.
#[derive(Debug)]
pub(crate) struct SenderReports {
    clock: SharedLabelClock,
    quality: watch::Receiver<Option<u8>>,
    health: watch::Receiver<Health>,
    /// The relay's clock less the steady one.
    steady: Option<Offset>,
    /// The last report; the first one that is sent has the first offset.
    sent: SenderInfo,
    steps: Interval,
}

impl SenderReports {
    /// Returns the reports of a connection that begins now.
    pub(crate) fn new(
        clock: SharedLabelClock,
        mut quality: watch::Receiver<Option<u8>>,
        mut health: watch::Receiver<Health>,
    ) -> Self {
        let sent = SenderInfo {
            quality: *quality.borrow_and_update(),
            health: *health.borrow_and_update(),
            ..SenderInfo::default()
        };
        Self {
            clock,
            quality,
            health,
            steady: None,
            sent,
            steps: interval(STEP_POLL_INTERVAL),
        }
    }

    /// Takes the relay's clock less the steady one.
    pub(crate) fn on_offset(&mut self, steady: Offset) {
        self.steady = Some(steady);
    }

    /// Waits until there is something new, and returns it. Cancel-safe.
    pub(crate) async fn next(&mut self) -> SenderInfo {
        loop {
            let offset = self.steady.map(|steady| self.clock.offset(steady));
            let info = SenderInfo {
                offset_us: offset.map(|offset| offset.us),
                error_us: offset.map(|offset| offset.error_us),
                quality: *self.quality.borrow_and_update(),
                health: *self.health.borrow_and_update(),
            };
            if info != self.sent {
                self.sent = info;
                return info;
            }
            tokio::select! {
                Ok(()) = self.quality.changed() => {}
                Ok(()) = self.health.changed() => {}
                _ = self.steps.tick() => {}
            }
        }
    }
}
