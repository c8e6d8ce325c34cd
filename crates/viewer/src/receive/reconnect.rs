//! How long to wait before the next QUIC connection, and whether the relay lets any last. Pure.
//!
//! A relay that accepts each connection and ends it at once, or refuses it, would otherwise be tried ten times a second and
//! fill the log.

use std::time::Duration;

use quic::client::ConnectFailure;
use quinn::ConnectionError;

use super::upgrade::RETRY_SOON;

/// A connection that lasts this long was no passing one.
const LASTING: Duration = Duration::from_secs(10);
/// Longest pause: the picture is back within 3 s once the relay accepts the viewer again.
const LONGEST: Duration = Duration::from_secs(2);
/// Connections in a row that end at once, from which on the relay is unstable: the first may have met its restart.
const UNSTABLE: u32 = 3;

/// The connections and tries in a row that the relay ended at once.
#[derive(Debug, Default)]
pub(super) struct Reconnect {
    /// Connections that opened.
    opened: u32,
    /// Those, and tries that the relay answered otherwise.
    ended: u32,
}

impl Reconnect {
    /// Notes the end of a connection.
    pub(super) fn on_end(&mut self, lasted: Duration) {
        if lasted >= LASTING {
            *self = Self::default();
            return;
        }
        self.opened = self.opened.saturating_add(1);
        self.ended = self.ended.saturating_add(1);
    }

    /// Notes a try that failed. Where nothing answers, the try itself has waited.
    pub(super) fn on_failure(&mut self, failure: &ConnectFailure) {
        match failure {
            ConnectFailure::Silence | ConnectFailure::Host(_) => *self = Self::default(),
            // A relay that closes at once overtakes its own answer to the hello.
            ConnectFailure::Lost(ConnectionError::ApplicationClosed(_)) => {
                self.on_end(Duration::ZERO)
            }
            _ => self.ended = self.ended.saturating_add(1),
        }
    }

    /// Returns the pause before the next try.
    pub(super) fn pause(&self) -> Duration {
        let doublings = self.ended.saturating_sub(1).min(8);
        (RETRY_SOON * 2_u32.pow(doublings)).min(LONGEST)
    }

    /// Returns whether the relay has ended several connections in a row at once.
    pub(super) fn is_unstable(&self) -> bool {
        self.opened >= UNSTABLE
    }
}

#[cfg(test)]
mod tests {
    use protocol::quic::Refusal;

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);

    fn millis(reconnect: &Reconnect) -> u128 {
        reconnect.pause().as_millis()
    }

    #[test]
    fn pauses_double_while_connections_end_at_once_up_to_2_s() {
        let mut reconnect = Reconnect::default();
        assert_eq!(millis(&reconnect), 100);
        let mut after = |_| {
            reconnect.on_end(SHORT);
            millis(&reconnect)
        };
        let pauses: Vec<_> = (0..7).map(&mut after).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 2000, 2000]);
        let most = (0..100_000).map(after).max();
        assert_eq!(most, Some(2000));
    }

    #[test]
    fn a_connection_that_lasts_is_followed_by_the_shortest_pause() {
        let mut reconnect = Reconnect::default();
        (0..5).for_each(|_| reconnect.on_end(SHORT));
        assert!(reconnect.is_unstable());
        reconnect.on_end(LASTING);
        assert!(!reconnect.is_unstable());
        assert_eq!(millis(&reconnect), 100);
    }

    #[test]
    fn two_restarts_of_a_relay_do_not_make_it_unstable() {
        let mut reconnect = Reconnect::default();
        for unstable in [false, false, true] {
            reconnect.on_end(SHORT);
            assert_eq!(reconnect.is_unstable(), unstable);
        }
    }

    #[test]
    fn a_relay_that_closes_before_its_answer_arrives_has_ended_a_connection() {
        let mut reconnect = Reconnect::default();
        let close = || quinn::ApplicationClose {
            error_code: 7_u32.into(),
            reason: Vec::new().into(),
        };
        for unstable in [false, false, true] {
            let closed = ConnectionError::ApplicationClosed(close());
            reconnect.on_failure(&ConnectFailure::Lost(closed));
            assert_eq!(reconnect.is_unstable(), unstable);
        }
        reconnect.on_failure(&ConnectFailure::Silence);
        assert!(!reconnect.is_unstable(), "no relay is there");
    }

    #[test]
    fn a_refusal_is_an_answer_and_silence_is_not() {
        let mut reconnect = Reconnect::default();
        let answers = [
            ConnectFailure::Refused(Refusal::Full),
            ConnectFailure::Nonsense,
            ConnectFailure::Refused(Refusal::Full),
        ];
        answers
            .iter()
            .for_each(|failure| reconnect.on_failure(failure));
        assert_eq!(millis(&reconnect), 400);
        assert!(!reconnect.is_unstable(), "no connection has opened");
        reconnect.on_failure(&ConnectFailure::Silence);
        assert_eq!(millis(&reconnect), 100);
    }
}
