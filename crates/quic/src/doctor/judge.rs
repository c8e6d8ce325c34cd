//! Turns the outcomes of the relay's checks into lines of the report. Pure.

use std::net::SocketAddr;
use std::time::Duration;

use platform::config::TransportChoice;
use platform::doctor::Check;
use protocol::SMALL_FRAME;
use protocol::control::LeaseVerdict;
use protocol::datagram::Foreign;
use protocol::label::CameraName;
use protocol::quic::{Refusal, Role};

use super::{MAX_PACKET, QuicOutcome, UdpOutcome, Way};
use crate::client::ConnectFailure;
use crate::clock::Offset;

/// Offset between two clocks, in microseconds, above which the report advises to set them.
const MAX_OFFSET_US: u64 = 500_000;

/// Judges whether the relay's name resolved.
pub(super) fn name(host: &str, resolved: &Result<Vec<SocketAddr>, String>) -> Check {
    match resolved.as_deref() {
        Ok([address]) if address.to_string() == host => Check::good("relay", host),
        Ok(all) => {
            let all: Vec<String> = all.iter().map(ToString::to_string).collect();
            Check::good("relay", format!("{host} is {}", all.join(", ")))
        }
        Err(why) => Check::bad(
            "relay",
            format!(
                "{host} does not resolve: {why}; check the name, and whether the network is up"
            ),
        ),
    }
}

/// Judges the probe by the `udp` transport; `port` is the relay's.
pub(super) fn udp(outcome: UdpOutcome, port: u16, way: Way) -> Option<Check> {
    Some(match outcome {
        UdpOutcome::Skipped => return None,
        UdpOutcome::Relay(LeaseVerdict::Private, _) => {
            Check::bad("udp", Refusal::Private.to_string())
        }
        UdpOutcome::Relay(verdict, took) => lease(verdict, took, way),
        UdpOutcome::Refused => Check::bad(
            "udp",
            format!(
                "the host answers, but no program listens at its UDP port {port}: start relay-server there, or name its \
                 port"
            ),
        ),
        UdpOutcome::NoRoute => Check::bad(
            "udp",
            "this machine has no route to that address: check its network, and whether the name has an address of the \
             kind (IPv4 or IPv6) that this network carries",
        ),
        UdpOutcome::Silent => Check::bad(
            "udp",
            format!(
                "nothing answers: start relay-server there, open UDP port {port} in the provider's firewall and in the \
                 machine's (ufw allow {port}/udp), or name another port; the tutorial's server never answers; if the \
                 path drops frames by UDP, use --transport quic"
            ),
        ),
    })
}

/// Judges the answer of a relay that is not private. A sender needs no lease.
fn lease(verdict: LeaseVerdict, took: Duration, way: Way) -> Check {
    let (cause, cure) = match verdict {
        LeaseVerdict::Full if way.role == Role::View => (
            "all its places for UDP viewers are taken",
            "use --transport auto, or raise --udp-viewers at the relay",
        ),
        LeaseVerdict::Closed if way.role == Role::View => (
            "it takes no UDP viewers (--udp-viewers 0)",
            "use --transport quic, or raise --udp-viewers at the relay",
        ),
        _ => ("", ""),
    };
    let answers = format!("a Sightline relay answers in {} ms", millis(took));
    match way.transport {
        _ if cause.is_empty() => Check::good("udp", answers),
        TransportChoice::Udp => Check::bad("udp", format!("{answers}, and {cause}: {cure}")),
        _ => Check::good("udp", format!("{answers}; {cause}, so QUIC is needed")),
    }
}

/// Returns whether frames go by UDP where QUIC does not open.
fn carries_frames(udp: UdpOutcome, role: Role) -> bool {
    match udp {
        UdpOutcome::Relay(LeaseVerdict::Full | LeaseVerdict::Closed, _) => role == Role::Send,
        UdpOutcome::Relay(verdict, _) => verdict == LeaseVerdict::Welcome,
        UdpOutcome::Skipped | UdpOutcome::Refused | UdpOutcome::Silent | UdpOutcome::NoRoute => {
            false
        }
    }
}

/// Judges that the relay would refuse a sender by UDP.
pub(super) fn refusal_by_udp(refusal: Refusal) -> Check {
    match refusal {
        Refusal::Taken => taken("udp"),
        // The probe's line names the missing ticket already.
        other => Check::bad("udp", format!("the relay would take no frame: {other}")),
    }
}

fn taken(about: &'static str) -> Check {
    let why = Refusal::Taken;
    let text = format!("{why}; if this camera's pi-sender runs already, all is well");
    Check::advice(about, text)
}

/// Judges the QUIC connection, after the outcome of the probe.
pub(super) fn quic(udp: UdpOutcome, quic: &QuicOutcome, way: Way) -> Option<Check> {
    // A relay without room for another camera takes its frames by UDP as little.
    let no_camera = way.role == Role::Send
        && matches!(
            quic,
            QuicOutcome::Failed(ConnectFailure::Refused(Refusal::Full))
        );
    let by_udp = way.transport == TransportChoice::Auto && carries_frames(udp, way.role);
    Some(match quic {
        QuicOutcome::Skipped => return None,
        // The line on the probe names the missing ticket already.
        QuicOutcome::Failed(ConnectFailure::Refused(Refusal::Private))
            if udp != UdpOutcome::Skipped =>
        {
            return None;
        }
        QuicOutcome::Open(round_trip) => Check::good(
            "quic",
            format!("QUIC opens, round trip {} ms", millis(*round_trip)),
        ),
        QuicOutcome::Failed(ConnectFailure::Refused(Refusal::Taken)) => taken("quic"),
        QuicOutcome::Failed(why) if by_udp && !no_camera => Check::advice(
            "quic",
            format!(
                "QUIC does not open: {why}; frames would go by plain UDP, which a lossy path damages"
            ),
        ),
        QuicOutcome::Failed(ConnectFailure::PortClosed) => Check::bad(
            "quic",
            "the host answers, but no program listens at that UDP port: start relay-server there, or name its port",
        ),
        QuicOutcome::Failed(ConnectFailure::Silence) => Check::bad(
            "quic",
            "nothing answers by QUIC: start relay-server there, and open its UDP port in the firewalls; its log's line \
             `listening` names the port",
        ),
        QuicOutcome::Failed(why) => Check::bad("quic", why.to_string()),
    })
}

/// Judges a probe of [`SMALL_FRAME`] bytes, sent after a small one was answered.
pub(super) fn fragments(large: UdpOutcome, quic: &QuicOutcome) -> Check {
    let kb = SMALL_FRAME / 1000;
    match (large, quic) {
        (UdpOutcome::Relay(..), _) => Check::good(
            "fragments",
            format!("a datagram of {kb} kB arrives, in IP fragments, as a frame by UDP would"),
        ),
        (_, QuicOutcome::Open(_)) => Check::advice(
            "fragments",
            format!(
                "a datagram of {kb} kB does not arrive: the path drops IP fragments, so only QUIC carries large frames"
            ),
        ),
        _ => Check::bad(
            "fragments",
            format!(
                "a datagram of {kb} kB does not arrive: the path drops IP fragments, and frames by UDP with them; use \
                 --transport auto, or frames below 1400 bytes"
            ),
        ),
    }
}

/// Judges the largest packet that the path carries.
pub(super) fn path(packet: u16) -> Check {
    match packet {
        MAX_PACKET.. => Check::good("path", format!("carries packets of {packet} bytes whole")),
        _ => Check::good(
            "path",
            format!(
                "carries packets of {packet} bytes, as a tunnel does; QUIC fits its own to that"
            ),
        ),
    }
}

/// Judges how far the clocks are apart.
pub(super) fn clocks(Offset { us, error_us }: Offset) -> Check {
    let apart = us.unsigned_abs();
    if apart <= MAX_OFFSET_US.saturating_add(error_us) {
        let most = apart.saturating_add(error_us).div_ceil(1000);
        return Check::good("clocks", format!("within {most} ms of the relay's"));
    }
    let direction = if us < 0 { "ahead of" } else { "behind" };
    let ms = apart / 1000;
    Check::advice(
        "clocks",
        format!(
            "this one is {ms} ms {direction} the relay's: set both by NTP (sudo timedatectl set-ntp true); ages are \
             right by QUIC and wrong by plain UDP"
        ),
    )
}

/// Judges whether the camera that a viewer wants is live.
pub(super) fn cameras(
    wanted: Option<&CameraName>,
    live: &[String],
    foreign: Option<Foreign>,
) -> Check {
    let names = live.join(", ");
    let foreign = foreign.filter(|_| live.is_empty());
    if let Some(foreign) = foreign {
        let (what, cure) = (foreign.what(), foreign.cure());
        let text = format!("the relay receives {what} and no picture: {cure}");
        return Check::bad("cameras", text);
    }
    match wanted {
        _ if live.is_empty() => Check::advice(
            "cameras",
            "none is live: run pi-sender doctor on the camera's machine",
        ),
        Some(wanted) if !live.iter().any(|name| name == wanted.as_str()) => Check::advice(
            "cameras",
            format!("{wanted} is not live; live are: {names}"),
        ),
        _ => Check::good("cameras", format!("live: {names}")),
    }
}

/// Formats milliseconds with one decimal, which counts on a local network.
fn millis(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use platform::doctor::Verdict as Judged;

    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const VIEWER: Way = Way {
        role: Role::View,
        transport: TransportChoice::Auto,
    };
    const OPEN: QuicOutcome = QuicOutcome::Open(MS);
    const WELCOME: UdpOutcome = UdpOutcome::Relay(LeaseVerdict::Welcome, MS);

    fn assert_check(check: Option<Check>, verdict: Judged, text: &str) {
        let check = check.expect("a line");
        assert!(
            check.verdict == verdict && check.text.contains(text),
            "{check:?}"
        );
    }

    fn silent() -> QuicOutcome {
        QuicOutcome::Failed(ConnectFailure::Silence)
    }

    fn refused(refusal: Refusal) -> QuicOutcome {
        QuicOutcome::Failed(ConnectFailure::Refused(refusal))
    }

    #[test]
    fn a_name_without_address_is_bad() {
        let addresses = Ok(vec![
            ([192, 0, 2, 1], 8081).into(),
            ([192, 0, 2, 2], 8081).into(),
        ]);
        assert_check(
            Some(name("relay:8081", &addresses)),
            Judged::Good,
            "relay:8081 is 192.0.2.1:8081, 192.0.2.2:8081",
        );
        let none = Err("no such host".to_owned());
        assert_check(Some(name("relay:8081", &none)), Judged::Bad, "no such host");
    }

    #[test]
    fn a_dead_relay_a_silent_one_and_a_private_one_are_told_apart() {
        let check = |outcome| udp(outcome, 8081, VIEWER);
        assert_check(check(WELCOME), Judged::Good, "1.0 ms");
        assert_check(
            check(UdpOutcome::Refused),
            Judged::Bad,
            "no program listens at its UDP port 8081",
        );
        assert_check(check(UdpOutcome::Silent), Judged::Bad, "ufw allow 8081/udp");
        let private = UdpOutcome::Relay(LeaseVerdict::Private, MS);
        assert_check(check(private), Judged::Bad, "sightline://");
        assert_eq!(check(UdpOutcome::Skipped), None);
    }

    #[test]
    fn a_relay_without_place_for_a_udp_viewer_is_bad_where_udp_is_chosen() {
        let check = |verdict, role, transport| {
            let way = Way { role, transport };
            udp(UdpOutcome::Relay(verdict, MS), 8081, way)
        };
        use TransportChoice::{Auto, Udp};
        for (verdict, cause, cure) in [
            (LeaseVerdict::Full, "are taken", "--transport auto"),
            (LeaseVerdict::Closed, "--udp-viewers 0", "--transport quic"),
        ] {
            let by_udp = || check(verdict, Role::View, Udp);
            assert_check(by_udp(), Judged::Bad, cause);
            assert_check(by_udp(), Judged::Bad, cure);
            assert_check(check(verdict, Role::View, Auto), Judged::Good, cause);
            assert_check(check(verdict, Role::Send, Udp), Judged::Good, "1.0 ms");
            let outcome = UdpOutcome::Relay(verdict, MS);
            let no_quic = |role| quic(outcome, &silent(), Way { role, ..VIEWER });
            assert_check(no_quic(Role::View), Judged::Bad, "nothing answers by QUIC");
            assert_check(no_quic(Role::Send), Judged::Advice, "plain UDP");
        }
    }

    #[test]
    fn a_relay_that_takes_no_further_camera_is_bad_for_a_sender_by_any_transport() {
        let full = refused(Refusal::Full);
        let check = |role| quic(WELCOME, &full, Way { role, ..VIEWER });
        assert_check(check(Role::Send), Judged::Bad, "no further camera");
        assert_check(check(Role::View), Judged::Advice, "plain UDP");
    }

    #[test]
    fn a_quic_transport_that_does_not_open_is_bad_if_nothing_else_carries_frames() {
        let check = |udp, quic: &QuicOutcome, transport| {
            let way = Way {
                transport,
                ..VIEWER
            };
            super::quic(udp, quic, way)
        };
        use TransportChoice::{Auto, Quic};
        assert_check(check(WELCOME, &OPEN, Auto), Judged::Good, "QUIC opens");
        assert_check(
            check(WELCOME, &silent(), Auto),
            Judged::Advice,
            "go by plain UDP",
        );
        assert_check(
            check(UdpOutcome::Skipped, &silent(), Quic),
            Judged::Bad,
            "nothing answers by QUIC",
        );
        let certificate = QuicOutcome::Failed(ConnectFailure::Certificate);
        assert_check(
            check(UdpOutcome::Skipped, &certificate, Auto),
            Judged::Bad,
            "another relay",
        );
        assert_check(
            check(UdpOutcome::Skipped, &refused(Refusal::Role), Auto),
            Judged::Bad,
            "other role",
        );
        assert_check(
            check(WELCOME, &refused(Refusal::Taken), Auto),
            Judged::Advice,
            "runs already",
        );
    }

    #[test]
    fn a_sender_by_udp_that_would_be_refused_is_bad_unless_it_may_be_running() {
        let check = |refusal| Some(refusal_by_udp(refusal));
        assert_check(check(Refusal::Full), Judged::Bad, "no further camera");
        assert_check(check(Refusal::Taken), Judged::Advice, "runs already");
    }

    #[test]
    fn what_the_line_on_udp_reports_the_line_on_quic_does_not_repeat() {
        let check = |udp, quic: &QuicOutcome| super::quic(udp, quic, VIEWER);
        assert_eq!(check(UdpOutcome::Silent, &QuicOutcome::Skipped), None);
        assert_eq!(check(UdpOutcome::Refused, &QuicOutcome::Skipped), None);
        let private = UdpOutcome::Relay(LeaseVerdict::Private, MS);
        assert_eq!(check(private, &refused(Refusal::Private)), None);
        assert_check(
            check(UdpOutcome::Skipped, &refused(Refusal::Private)),
            Judged::Bad,
            "ticket",
        );
    }

    #[test]
    fn a_path_that_drops_pieces_is_bad_for_frames_by_udp_alone() {
        assert_check(Some(fragments(WELCOME, &silent())), Judged::Good, "15 kB");
        assert_check(
            Some(fragments(UdpOutcome::Silent, &OPEN)),
            Judged::Advice,
            "only QUIC",
        );
        assert_check(
            Some(fragments(UdpOutcome::Silent, &silent())),
            Judged::Bad,
            "--transport auto",
        );
    }

    #[test]
    fn a_narrow_path_and_clocks_that_are_apart_are_said() {
        assert_check(Some(path(1452)), Judged::Good, "1452 bytes whole");
        assert_check(Some(path(1280)), Judged::Good, "tunnel");
        let clocks = |us, error_us| Some(clocks(Offset { us, error_us }));
        assert_check(clocks(-3_200_000, 4000), Judged::Advice, "3200 ms ahead");
        assert_check(clocks(4000, 4000), Judged::Good, "within 8 ms");
        assert_check(clocks(600_000, 300_000), Judged::Good, "within 900 ms");
        assert_check(clocks(i64::MIN, u64::MAX), Judged::Good, "within");
    }

    #[test]
    fn a_camera_that_is_not_live_is_named_with_those_that_are() {
        let yard: CameraName = "yard".parse().expect("a name");
        let drive = "drive".to_owned();
        let h264 = Some(cameras(None, &[], Some(Foreign::H264)));
        assert_check(h264, Judged::Bad, "H.264");
        assert_check(
            Some(cameras(None, &[], None)),
            Judged::Advice,
            "pi-sender doctor",
        );
        assert_check(
            Some(cameras(Some(&yard), from_ref(&drive), None)),
            Judged::Advice,
            "live are: drive",
        );
        assert_check(
            Some(cameras(None, from_ref(&drive), None)),
            Judged::Good,
            "drive",
        );
        let both = [drive, "yard".to_owned()];
        assert_check(
            Some(cameras(Some(&yard), &both, Some(Foreign::H264))),
            Judged::Good,
            "drive, yard",
        );
    }
}
