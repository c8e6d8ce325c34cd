//! What the log says of the relay: a summary every ten seconds, and notes of the moment.

use std::net::SocketAddr;
use std::time::Instant;

use protocol::control::LeaseVerdict;
use protocol::label::CameraName;
use relay_core::{Note, Relay};
use tracing::{info, warn};

use crate::egress::EgressByTransport;
use crate::fanout::Fanout;
use crate::relay_loop::SUMMARY_INTERVAL;

/// Cameras that the line names: 64 with the longest names would make 2 MB of log an hour.
const MAX_NAMED: usize = 8;

/// Counters at one summary line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    received: u64,
    wanted: u64,
    forwarded: u64,
    inferred: u64,
    unsent: u64,
    dropped: u64,
}

impl Summary {
    /// Returns the counters of this moment.
    pub(crate) fn of(relay: &Relay, egress: &EgressByTransport) -> Self {
        let counts = relay.counts();
        let [forwarded, unsent] = egress.totals();
        Self {
            received: counts.received,
            wanted: counts.wanted,
            forwarded,
            inferred: counts.inferred,
            unsent: counts.over_egress + unsent,
            dropped: counts.dropped.values().sum(),
        }
    }

    /// Logs what happened since the `last` summary if anything did, or if there are viewers.
    pub(crate) fn log(
        &self,
        last: &Self,
        relay: &Relay,
        fanout: &Fanout,
        egress: &EgressByTransport,
    ) {
        let [udp, quic, http] = egress.viewers();
        let viewers = udp + quic + http;
        if self == last && viewers == 0 {
            return;
        }
        let live = relay.live_cameras(Instant::now());
        let (cameras, more_cameras) = named(&live, |name| fanout.describe(name));
        info!(
            received = self.received - last.received,
            forwarded = self.forwarded - last.forwarded,
            inferred = self.inferred - last.inferred,
            every = self.every(last),
            unsent = self.unsent - last.unsent,
            dropped = self.dropped - last.dropped,
            dropped_in_all = ?relay.counts().dropped,
            viewers,
            udp,
            quic,
            http,
            ?cameras,
            more_cameras,
            "last 10 s"
        );
    }

    /// Returns what happens at the relay, in a line for `systemctl status`.
    pub(crate) fn status(&self, last: &Self, relay: &Relay, egress: &EgressByTransport) -> String {
        let live = relay.live_cameras(Instant::now());
        let (named, _) = named(&live, CameraName::to_string);
        let frames = self.received.saturating_sub(last.received);
        status_line(&named, live.len(), frames, egress.viewers())
    }

    /// Returns of how many frames whose boxes were wanted one was inferred since `last`, to a tenth; `None` if none was.
    fn every(&self, last: &Self) -> Option<f64> {
        let inferred = self.inferred.saturating_sub(last.inferred);
        let wanted = self.wanted.saturating_sub(last.wanted);
        (inferred > 0).then(|| (10.0 * wanted as f64 / inferred as f64).round() / 10.0)
    }
}

/// Returns the cameras that the line names, as `describe` writes them, and how many more are live.
fn named(
    live: &[CameraName],
    describe: impl Fn(&CameraName) -> String,
) -> (Vec<String>, Option<usize>) {
    let cameras: Vec<_> = live.iter().take(MAX_NAMED).map(describe).collect();
    let more = live.len() - cameras.len();
    (cameras, Some(more).filter(|more| *more > 0))
}

/// `named`: names of some of the `cameras` live ones. `frames`: those of the last interval. `viewers`: by UDP, QUIC and HTTP.
fn status_line(named: &[String], cameras: usize, frames: u64, viewers: [usize; 3]) -> String {
    let [udp, quic, http] = viewers;
    let viewers = udp + quic + http;
    let names = match (cameras, cameras - named.len()) {
        (0, _) => return format!("no camera is live; viewers: {viewers}"),
        (_, 0) => named.join(", "),
        (_, more) => format!("{} and {more} more", named.join(", ")),
    };
    let rate = frames as f64 / SUMMARY_INTERVAL.as_secs_f64();
    format!(
        "cameras live: {cameras} ({names}), {rate:.1} frames a second; viewers: {viewers} (udp {udp}, quic {quic}, http \
         {http})"
    )
}

/// Logs what the operator should know.
pub(crate) fn log_note(note: &Note) {
    match note {
        Note::CameraAppeared(camera, source) => info!(%camera, %source, "camera appeared"),
        Note::CameraMoved(camera, source) => info!(%camera, %source, "camera goes on from here"),
        Note::CameraGone(camera, Some(silence)) => {
            info!(%camera, silence_s = silence.as_secs(), "camera gone: no frames come");
        }
        Note::CameraGone(camera, None) => {
            info!(%camera, "camera gone: its slot went to a camera of another host");
        }
        Note::NameInUse(camera, source) => warn!(
            %camera, %source,
            "frames rejected: another source sends as this camera; start the second camera with --camera NAME"
        ),
        Note::Foreign(foreign, source) => warn!(
            %source,
            "no picture comes from this source, it sends {}: {}", foreign.what(), foreign.cure()
        ),
        Note::UdpEgressReached => warn!(
            "UDP viewers miss frames: all together are sent no more than --udp-egress; the 10 s lines count them as unsent"
        ),
        Note::DemoMismatch(camera) => warn!(
            %camera,
            "the demo model finds nothing here: it knows the demo scene alone; scripts/get-model yolov5n gets a real model"
        ),
        Note::ViewerRefused(viewer, verdict) => log_refused_viewer(*viewer, *verdict),
    }
}

/// Logs why a UDP viewer gets no frames. Each reason is a kind of its own for the bounds of the log.
fn log_refused_viewer(viewer: SocketAddr, verdict: LeaseVerdict) {
    match verdict {
        LeaseVerdict::Welcome => {}
        LeaseVerdict::Full => info!(
            %viewer,
            "UDP viewer refused: as many as --udp-viewers allows are served; raise that, or let it use --transport auto"
        ),
        LeaseVerdict::Closed => info!(
            %viewer,
            "UDP viewer refused: --udp-viewers 0 closes the transport; let it use --transport quic"
        ),
        LeaseVerdict::Private => info!(
            %viewer,
            "UDP peer refused: --private lets in tickets only; start it with a ticket"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_names_eight_cameras_and_counts_the_others() {
        let live: Vec<CameraName> = (10..74)
            .map(|n| format!("{n}{}", "x".repeat(CameraName::MAX - 2)))
            .map(|name| name.parse().unwrap())
            .collect();
        let (cameras, more) = named(&live, |name| format!("{name} q100"));
        assert_eq!((cameras.len(), more), (8, Some(56)));
        // Its 360 lines an hour are below the megabyte that the whole log may have.
        assert!(
            format!("{cameras:?}").len() < 1_000_000 / 360,
            "{cameras:?}"
        );
        let (cameras, more) = named(&live[..8], CameraName::to_string);
        assert_eq!((cameras.len(), more), (8, None));
    }

    #[test]
    fn the_state_names_cameras_their_frames_and_the_viewers() {
        let names = ["yard".to_owned(), "drive".to_owned()];
        assert_eq!(
            status_line(&names, 2, 199, [1, 2, 0]),
            "cameras live: 2 (yard, drive), 19.9 frames a second; viewers: 3 (udp 1, quic 2, http 0)"
        );
        assert!(status_line(&names, 9, 0, [0; 3]).contains("drive and 7 more)"));
        assert_eq!(
            status_line(&[], 0, 0, [0, 0, 1]),
            "no camera is live; viewers: 1"
        );
    }
}
