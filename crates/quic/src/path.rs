//! Measures a connection's path from its packets: round trips, and from them the queue. quinn's own congestion window
//! is fixed and large, since congestion is controlled on frames ([`crate::frame_window`]).
//!
//! Measured at 5 % loss, quinn's CUBIC delivers a fifth of 40 kB frames, and its BBR collapses on a 3 Mbit/s uplink.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use quinn::Connection;
use quinn_proto::RttEstimator;
use quinn_proto::congestion::{Controller, ControllerFactory};

use crate::frame_window::PathSample;

/// Congestion window in bytes, which is never reached: the frame window sends at most 0.4 s of frames.
const UNREACHED_WINDOW: u64 = 16 << 20;
/// Round trips kept: those of half a second, which is longer than a frame is in flight.
const RECENT_ROUND_TRIPS: usize = 128;
/// Time within which packets count as sent at once, and the shortest of their round trips alone is kept: a frame may have
/// three thousand packets, of which the first ones show the queue.
const AT_ONCE: Duration = Duration::from_millis(4);
/// Period of the shortest round trip, which is that of this period and the one before, since routes change. Longer than
/// a path is kept busy without a pause ([`crate::frame_window`]).
const PERIOD: Duration = Duration::from_secs(15);

/// Returns what the packets measured that were sent at `since` or later, on the connection's path as it is now; `None`
/// if none of them has been acknowledged.
pub fn sample(connection: &Connection, since: Instant) -> Option<PathSample> {
    let state = connection.congestion_state().into_any();
    let monitor = state.downcast::<PathMonitor>().ok()?;
    let round_trips = monitor
        .round_trips
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    round_trips.since(since)
}

/// Makes a [`PathMonitor`] for each path.
#[derive(Debug)]
pub(crate) struct PathMonitorFactory;

impl ControllerFactory for PathMonitorFactory {
    fn build(self: Arc<Self>, _now: Instant, _mtu: u16) -> Box<dyn Controller> {
        Box::new(PathMonitor::default())
    }
}

/// A congestion controller with a fixed window, which records round trips; its clones share them.
#[derive(Debug, Clone, Default)]
struct PathMonitor {
    round_trips: Arc<Mutex<RoundTrips>>,
}

impl Controller for PathMonitor {
    fn on_ack(&mut self, now: Instant, sent: Instant, _: u64, _: bool, _: &RttEstimator) {
        let mut round_trips = self
            .round_trips
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        round_trips.add(sent, now);
    }

    fn on_congestion_event(&mut self, _: Instant, _: Instant, _: bool, _: u64) {}

    fn on_mtu_update(&mut self, _: u16) {}

    fn window(&self) -> u64 {
        UNREACHED_WINDOW
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        UNREACHED_WINDOW
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// The last round trips of a path. Pure.
#[derive(Debug, Default)]
struct RoundTrips {
    /// Times of sending of the last packets, the first and the last of those that were sent at once, and their shortest round
    /// trip.
    recent: VecDeque<(Instant, Instant, Duration)>,
    /// Start of this period, its shortest round trip and that of the period before.
    shortest: Option<(Instant, Duration, Duration)>,
}

impl RoundTrips {
    fn add(&mut self, sent: Instant, now: Instant) {
        let trip = now.saturating_duration_since(sent);
        match self.recent.back_mut() {
            Some((first, last, shortest)) if (*first..*first + AT_ONCE).contains(&sent) => {
                (*last, *shortest) = (sent.max(*last), trip.min(*shortest));
            }
            _ => {
                if self.recent.len() == RECENT_ROUND_TRIPS {
                    self.recent.pop_front();
                }
                self.recent.push_back((sent, sent, trip));
            }
        }
        self.shortest = Some(match self.shortest {
            None => (now, trip, trip),
            Some((start, this, _)) if now - start >= PERIOD => (now, trip, this),
            Some((start, this, last)) => (start, this.min(trip), last),
        });
    }

    /// Returns what the packets measured that were sent at `since` or later.
    fn since(&self, since: Instant) -> Option<PathSample> {
        let (_, this, last) = self.shortest?;
        let trips = self.recent.iter().filter(|(_, sent, _)| *sent >= since);
        let shortest = trips.map(|(_, _, trip)| *trip).min()?;
        let round_trip = this.min(last);
        Some(PathSample {
            round_trip,
            queue: shortest.saturating_sub(round_trip),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    impl RoundTrips {
        fn queue_since(&self, since: Instant) -> Option<Duration> {
            self.since(since).map(|sample| sample.queue)
        }
    }

    #[test]
    fn the_queue_is_what_the_luckiest_packet_met_above_the_shortest_round_trip() {
        let (mut trips, start) = (RoundTrips::default(), testkit::time::start());
        trips.add(start, start + 50 * MS);
        let frame = start + 100 * MS;
        for (sent, took) in [(0, 90), (1, 130), (40, 160)] {
            trips.add(frame + sent * MS, frame + (sent + took) * MS);
        }
        assert_eq!(trips.queue_since(frame), Some(40 * MS));
        assert_eq!(trips.queue_since(start), Some(Duration::ZERO));
        assert_eq!(
            trips.queue_since(frame + 50 * MS),
            None,
            "none is acknowledged"
        );
    }

    #[test]
    fn a_path_that_became_longer_is_not_taken_for_a_queue_for_ever() {
        let (mut trips, start) = (RoundTrips::default(), testkit::time::start());
        trips.add(start, start + 20 * MS);
        let queue_at = |trips: &mut RoundTrips, second: u32| {
            let sent = start + 1000 * second * MS;
            trips.add(sent, sent + 200 * MS);
            trips.queue_since(sent)
        };
        assert_eq!(queue_at(&mut trips, 1), Some(180 * MS));
        let later: Vec<_> = (2..40).map(|s| queue_at(&mut trips, s)).collect();
        assert_eq!(later.last(), Some(&Some(Duration::ZERO)));
    }

    #[test]
    fn the_first_packets_of_the_largest_frame_show_the_queue_when_its_last_ones_are_acknowledged() {
        let (mut trips, start) = (RoundTrips::default(), testkit::time::start());
        trips.add(start, start + 50 * MS);
        let frame = start + 1000 * MS;
        // 3000 packets within 300 ms, each behind those before it.
        for n in 0..3000 {
            let sent = frame + n * MS / 10;
            trips.add(sent, sent + 60 * MS + n * MS / 10);
        }
        assert_eq!(trips.queue_since(frame), Some(10 * MS));
        assert!(trips.queue_since(frame + 200 * MS) > Some(200 * MS));
    }

    #[test]
    fn memory_is_bounded() {
        let (mut trips, start) = (RoundTrips::default(), testkit::time::start());
        for n in 0..100 * RECENT_ROUND_TRIPS as u32 {
            trips.add(start + n * MS, start + (n + 50) * MS);
        }
        assert_eq!(trips.recent.len(), RECENT_ROUND_TRIPS);
    }
}
