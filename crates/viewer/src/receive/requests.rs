//! The last `Request` to each address of the relay's name. Pure.
//!
//! A tutorial relay that streams takes a second `Request` for a frame and crashes, so one that was sent before the
//! viewer tried the name's other addresses still counts.

use std::net::SocketAddr;
use std::time::Instant;

use protocol::lease::{ANSWER_TIMEOUT, REPEAT_REQUEST_AFTER, Renewal};

/// The requests that forbid another one.
#[derive(Debug, Default)]
pub(super) struct Requests(Vec<(SocketAddr, Instant)>);

impl Requests {
    /// Notes a `Request`.
    pub(super) fn on_request(&mut self, relay: SocketAddr, now: Instant) {
        self.forget(now);
        self.0.push((relay, now));
    }

    /// Returns the schedule at an address, which knows of the last `Request` there.
    pub(super) fn renewal(&mut self, relay: SocketAddr, elsewhere: bool, now: Instant) -> Renewal {
        self.forget(now);
        let mut renewal = Renewal::new(elsewhere);
        let last = self.0.iter().rfind(|(at, _)| *at == relay);
        if let Some((hello, (_, request))) =
            last.and_then(|last| Some((last.1.checked_sub(ANSWER_TIMEOUT)?, last)))
        {
            renewal.poll(hello);
            renewal.poll(*request);
        }
        renewal
    }

    fn forget(&mut self, now: Instant) {
        let counts = |at: Instant| now.saturating_duration_since(at) < REPEAT_REQUEST_AFTER;
        self.0.retain(|(_, at)| counts(*at));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use protocol::lease::LeaseRequest;

    use super::*;

    /// The tenths of a second at which `Request` is sent to an address that does not answer.
    fn sent(
        requests: &mut Requests,
        relay: SocketAddr,
        tenths: std::ops::Range<u64>,
        start: Instant,
    ) -> Vec<u64> {
        let mut sent = Vec::new();
        let mut renewal = requests.renewal(relay, false, start + tenth(tenths.start));
        for at in tenths {
            let now = start + tenth(at);
            while let Some(request) = renewal.poll(now) {
                if request == LeaseRequest::Request {
                    requests.on_request(relay, now);
                    sent.push(at);
                }
            }
        }
        sent
    }

    fn tenth(n: u64) -> Duration {
        Duration::from_millis(100 * n)
    }

    #[test]
    fn a_request_is_repeated_after_ten_seconds_however_often_the_address_was_left() {
        let relay = |n| SocketAddr::from(([192, 0, 2, n], 8081));
        let (mut requests, start) = (Requests::default(), testkit::time::start() + tenth(1000));
        let mut all = Vec::new();
        for round in 0..8 {
            all.extend(sent(
                &mut requests,
                relay(1),
                40 * round..40 * round + 20,
                start,
            ));
            sent(
                &mut requests,
                relay(2),
                40 * round + 20..40 * round + 40,
                start,
            );
        }
        assert_eq!(all.first(), Some(&3));
        assert!(
            all.windows(2).all(|pair| pair[1] - pair[0] >= 100),
            "{all:?}"
        );
        assert!(all.len() >= 2, "{all:?}");
    }
}
