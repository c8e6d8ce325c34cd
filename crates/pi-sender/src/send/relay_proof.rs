//! Whether the relay that offers QUIC is one of ours. Pure.
//!
//! A tutorial relay dies of a QUIC packet, and the `upgrade` of a relay of ours is public and easily forged. So this sender
//! answers it with a probe, a JPEG of one pixel that harms no relay: only a relay of ours answers that, and with the number
//! that the probe holds.

use std::time::{Duration, Instant};

use protocol::control::{Control, Question};
use protocol::peer::Cookie;

/// Time between two probes.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// Time after the last frame by QUIC in which probes need no `upgrade`: the relay starts again, and a flood of others' frames
/// may take all the answers that it gives to the unvalidated.
const KNOWN_FOR: Duration = Duration::from_secs(60);

/// Time between two probes while frames go by HTTP: the relay is ours, and the path for UDP may be open again.
const PROBE_BESIDE_HTTP: Duration = Duration::from_secs(30);

/// A relay's offer to take QUIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offer {
    /// The proof of this sender's address; `None` from a relay of version 0.1.
    pub(crate) cookie: Option<Cookie>,
}

/// The exchange with the relay.
#[derive(Debug)]
pub(crate) struct RelayProof {
    nonce: u64,
    /// Whether an `upgrade` came that was not answered yet.
    upgrade: bool,
    probed: Option<Instant>,
    offer: Option<Offer>,
    /// When frames last went by QUIC.
    quic_at: Option<Instant>,
    /// When frames last went by HTTP.
    http_at: Option<Instant>,
}

impl RelayProof {
    /// Returns an exchange whose probes hold this random number.
    pub(crate) fn new(nonce: u64) -> Self {
        Self {
            nonce,
            upgrade: false,
            probed: None,
            offer: None,
            quic_at: None,
            http_at: None,
        }
    }

    /// Takes a message of the relay.
    pub(crate) fn on_control(&mut self, control: Control) {
        match control {
            Control::Upgrade => self.upgrade = true,
            Control::Accept { nonce, cookie, .. }
                if nonce == self.nonce && self.probed.is_some() =>
            {
                self.offer = Some(Offer { cookie });
            }
            _ => {}
        }
    }

    /// Notes that a frame went by QUIC.
    pub(crate) fn on_quic(&mut self, now: Instant) {
        self.quic_at = Some(now);
    }

    /// Notes that a frame went by HTTP.
    pub(crate) fn on_http(&mut self, now: Instant) {
        self.http_at = Some(now);
    }

    /// Returns the probe to send now, if one is due.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Control> {
        let lately = |at: Instant| now.saturating_duration_since(at) < PROBE_INTERVAL;
        let known = |at: Instant| now.saturating_duration_since(at) < KNOWN_FOR;
        let is_known = self.quic_at.is_some_and(known);
        let by_http = self.http_at.is_some_and(lately);
        let long_ago = |at: Instant| now.saturating_duration_since(at) >= PROBE_BESIDE_HTTP;
        let due = by_http && self.probed.is_none_or(long_ago);
        let asked = std::mem::take(&mut self.upgrade) || is_known && !by_http;
        if self.probed.is_some_and(lately) || !(asked || due) {
            return None;
        }
        self.probed = Some(now);
        Some(Control::Probe(Question::new(self.nonce, None)))
    }

    /// Returns the relay's offer, once.
    pub(crate) fn take_offer(&mut self) -> Option<Offer> {
        self.offer.take()
    }
}

#[cfg(test)]
mod tests {
    use protocol::control::LeaseVerdict;

    use super::*;

    #[test]
    fn no_probe_leaves_before_an_upgrade_and_a_flood_of_upgrades_draws_one_a_second() {
        let (mut proof, start) = (RelayProof::new(7), testkit::time::start());
        assert_eq!(proof.poll(start), None);
        let probes = (0..3000).filter(|ms| {
            proof.on_control(Control::Upgrade);
            proof.poll(start + Duration::from_millis(*ms)).is_some()
        });
        assert_eq!(probes.count(), 3);
    }

    #[test]
    fn a_relay_that_took_quic_a_moment_ago_is_probed_without_an_upgrade() {
        let (mut proof, start) = (RelayProof::new(7), testkit::time::start());
        proof.on_quic(start);
        let probes = (0..100_000)
            .step_by(100)
            .filter(|ms| proof.poll(start + Duration::from_millis(*ms)).is_some());
        assert_eq!(probes.count(), 60, "one a second for a minute");
    }

    #[test]
    fn while_frames_go_by_http_a_probe_every_30_s_finds_the_way_back() {
        let (mut proof, start) = (RelayProof::new(7), testkit::time::start());
        proof.on_quic(start);
        let probes = (0..100_000).step_by(100).filter(|ms| {
            let now = start + Duration::from_millis(*ms);
            proof.on_http(now);
            proof.poll(now).is_some()
        });
        assert_eq!(probes.collect::<Vec<_>>(), [0, 30_000, 60_000, 90_000]);
    }

    #[test]
    fn an_answer_to_no_probe_is_not_an_offer() {
        let mut proof = RelayProof::new(7);
        let accept = Control::Accept {
            nonce: 7,
            verdict: LeaseVerdict::Welcome,
            cookie: None,
        };
        proof.on_control(accept);
        assert_eq!(proof.take_offer(), None);
        proof.on_control(Control::Upgrade);
        proof.poll(testkit::time::start());
        proof.on_control(accept);
        assert_eq!(proof.take_offer(), Some(Offer { cookie: None }));
    }
}
