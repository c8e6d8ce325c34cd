//! Which of the addresses of the relay's name answers, as the programs try them: in the system's order.

use std::net::SocketAddr;

use platform::doctor::Check;

use super::{PROBE_ATTEMPTS, probe};
use super::{QuicOutcome, RelayCheck, UdpOutcome};
use crate::client::{Client, ConnectFailure, Session};

/// What was seen of an address; the later, the more it tells of the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Seen {
    NoRoute,
    Silent,
    Refused,
    Answers,
}

/// The address that the programs would use, and how it answers.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) relay: SocketAddr,
    pub(super) udp: UdpOutcome,
    pub(super) quic: QuicOutcome,
    pub(super) session: Option<(Client, Session)>,
    seen: Seen,
}

impl Found {
    /// Returns whether a relay is there, whatever it answers.
    pub(super) fn answers(&self) -> bool {
        self.seen == Seen::Answers
    }
}

impl RelayCheck<'_> {
    /// Tries the addresses in turn until one answers. Returns that one, else the one that tells most, and what was seen
    /// of each that was tried; `None` without an address.
    pub(super) async fn find(
        &self,
        addresses: &[SocketAddr],
    ) -> (Option<Found>, Vec<(SocketAddr, Seen)>) {
        let (mut best, mut all): (Option<Found>, _) = (None, Vec::new());
        for relay in addresses {
            let found = self.try_address(*relay).await;
            let seen = found.seen;
            all.push((*relay, seen));
            if best.as_ref().is_none_or(|best| best.seen < seen) {
                best = Some(found);
            }
            if seen == Seen::Answers {
                break;
            }
        }
        (best, all)
    }

    async fn try_address(&self, relay: SocketAddr) -> Found {
        let udp = match self.may_use_udp() {
            true => probe(relay, 0, PROBE_ATTEMPTS).await,
            false => UdpOutcome::Skipped,
        };
        let (quic, session) = self.try_quic(relay, udp).await;
        let seen = match (udp, &quic) {
            (UdpOutcome::Relay(..), _) | (_, QuicOutcome::Open(_)) => Seen::Answers,
            (UdpOutcome::Refused, _) => Seen::Refused,
            (UdpOutcome::NoRoute, _) => Seen::NoRoute,
            (_, QuicOutcome::Failed(ConnectFailure::PortClosed)) => Seen::Refused,
            (_, QuicOutcome::Failed(ConnectFailure::Host(_))) => Seen::NoRoute,
            (UdpOutcome::Silent, _) | (_, QuicOutcome::Failed(ConnectFailure::Silence)) => {
                Seen::Silent
            }
            (UdpOutcome::Skipped, _) => Seen::Answers,
        };
        Found {
            relay,
            udp,
            quic,
            session,
            seen,
        }
    }
}

/// Judges what was seen of a name's addresses; `None` if it has only one.
pub(super) fn judge(all: &[(SocketAddr, Seen)], addresses: usize) -> Option<Check> {
    if addresses < 2 {
        return None;
    }
    let words = all.iter().map(|(address, seen)| match seen {
        Seen::Answers => format!("{address} answers"),
        Seen::Refused => format!("no program listens at {address}"),
        Seen::Silent => format!("nothing answers at {address}"),
        Seen::NoRoute => format!("there is no route to {address}"),
    });
    let words = words.collect::<Vec<_>>().join("; ");
    let answers = all.iter().any(|(_, seen)| *seen == Seen::Answers);
    let silent = all.iter().any(|(_, seen)| *seen == Seen::Silent);
    Some(match (answers, silent) {
        (true, false) => Check::good("address", words),
        (true, true) => Check::advice(
            "address",
            format!(
                "{words}; programs start 2 s later for each silent address: open its firewall, or remove it from the \
                 name's DNS records"
            ),
        ),
        (false, _) => Check::bad(
            "address",
            format!("{words}: the name's addresses are all tried, in this order"),
        ),
    })
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use platform::config::TransportChoice;
    use platform::doctor::Verdict;
    use protocol::control::{Control, LeaseVerdict};
    use protocol::datagram::{Datagram, classify};
    use protocol::quic::Role;

    use super::*;

    /// An address of this host at which nothing listens.
    fn closed(at: &str) -> SocketAddr {
        UdpSocket::bind(at).unwrap().local_addr().unwrap()
    }

    /// Answers probes as a relay does.
    fn relay(at: &str) -> SocketAddr {
        let socket = UdpSocket::bind(at).unwrap();
        let address = socket.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 2000];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                if let Ok(Datagram::Control(Control::Probe(probe))) =
                    classify(buffer[..length].to_vec())
                {
                    let verdict = LeaseVerdict::Welcome;
                    let accept = Control::Accept {
                        nonce: probe.nonce,
                        verdict,
                        cookie: None,
                    };
                    let _ = socket.send_to(&accept.write(), from);
                }
            }
        });
        address
    }

    #[tokio::test]
    async fn the_address_that_answers_is_found_and_each_is_named() {
        let server = "relay.example".parse().unwrap();
        let check = RelayCheck {
            server: &server,
            transport: TransportChoice::Udp,
            role: Role::View,
            camera: None,
        };
        let (silent, _kept) = {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            (socket.local_addr().unwrap(), socket)
        };
        let (closed4, closed6) = (closed("127.0.0.1:0"), closed("[::1]:0"));
        for (addresses, verdict) in [
            ([closed6, relay("127.0.0.1:0")], Verdict::Good),
            ([closed4, relay("[::1]:0")], Verdict::Good),
            ([silent, relay("[::1]:0")], Verdict::Advice),
        ] {
            let (found, all) = check.find(&addresses).await;
            assert_eq!(found.unwrap().relay, addresses[1]);
            let line = judge(&all, 2).unwrap();
            let answers = format!("{} answers", addresses[1]);
            assert!(line.text.contains(&answers), "{line:?}");
            assert_eq!(line.verdict, verdict, "{line:?}");
        }
        let (found, all) = check.find(&[silent, closed6]).await;
        let line = judge(&all, 2).unwrap();
        assert_eq!(
            found.unwrap().relay,
            closed6,
            "it tells that a host is there"
        );
        assert_eq!(line.verdict, Verdict::Bad);
        assert!(
            line.text.contains("nothing answers at 127.0.0.1"),
            "{line:?}"
        );
        assert!(
            line.text.contains("no program listens at [::1]"),
            "{line:?}"
        );
        assert_eq!(judge(&all[..1], 1), None);
    }

    #[tokio::test]
    async fn by_quic_alone_a_closed_port_moves_on_without_a_timeout() {
        let server = "relay.example".parse().unwrap();
        let check = RelayCheck {
            server: &server,
            transport: TransportChoice::Quic,
            role: Role::Send,
            camera: None,
        };
        let closed = [closed("[::1]:0"), closed("127.0.0.1:0")];
        let began = std::time::Instant::now();
        let (found, all) = check.find(&closed).await;
        assert!(began.elapsed().as_secs_f64() < 1.0, "{:?}", began.elapsed());
        assert_eq!(all.len(), 2);
        let quic = found.unwrap().quic;
        assert!(
            matches!(quic, QuicOutcome::Failed(ConnectFailure::PortClosed)),
            "{quic:?}"
        );
    }
}
