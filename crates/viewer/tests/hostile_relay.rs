//! A relay that fills the viewer's memory with what never becomes a picture.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::quic_relay::QuicRelay;
use common::script::{RelayScript, ViewerSession, camera_info, send, send_yard};
use common::shown::{identity, numbers, start_headless, stop_and_report};
use common::{eventually, viewer};
use protocol::quic::ServerMessage;
use quinn::Connection;
use testkit::jpeg::Sketch;
use tokio::task::JoinSet;

/// Most that the viewer's memory grows, in kB.
const BOUND: u64 = 64 << 10;
/// Duration of an attack.
const ATTACK: Duration = Duration::from_secs(4);
/// As many streams as a viewer permits.
const STREAMS: usize = 128;
/// Bytes of a line: four times what a viewer waits for.
const LINE: usize = 1 << 20;
/// Bytes of the smallest frame.
const TINY: usize = 82;

/// What a hostile relay sends on one stream after another.
#[derive(Debug, Clone, Copy)]
enum Payload {
    /// A line that does not end, on a stream that stays open.
    EndlessLine,
    /// A whole frame.
    TinyFrame,
}

impl Payload {
    /// Sends it again and again, until the connection ends.
    async fn flood(self, connection: Connection, sent: Arc<AtomicU64>) {
        let bytes = match self {
            Self::EndlessLine => [b"{".as_slice(), &[b' '; LINE]].concat(),
            Self::TinyFrame => {
                let bare = Sketch::new(8, 8).bytes().len();
                let filler = vec![b'.'; TINY - bare - 4];
                Sketch::new(8, 8).segment(0xFE, &filler).bytes()
            }
        };
        while self.send(&connection, &bytes).await.is_some() {
            sent.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn send(self, connection: &Connection, bytes: &[u8]) -> Option<()> {
        match self {
            Self::TinyFrame => send(connection, bytes).await,
            Self::EndlessLine => {
                let mut stream = connection.open_uni().await.ok()?;
                let _ = stream.write_all(bytes).await;
                let _ = stream.stopped().await;
                connection.close_reason().is_none().then_some(())
            }
        }
    }
}

/// Returns the largest growth of the viewer's memory in kB, and requires that its picture comes again.
fn growth(payload: Payload) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let (attacks, sent) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let (begin, counted) = (attacks.clone(), sent.clone());
    let script =
        RelayScript::new(move |session| serve(session, payload, begin.clone(), counted.clone()));
    let relay = QuicRelay::start("127.0.0.1:0", &identity(), script);
    let viewer = start_headless(viewer(relay.addr, dir.path()).args(["--transport", "quic"]));
    eventually("frames", || numbers(dir.path()).len() > 5);
    let before = viewer.rss_kb();
    attacks.store(true, Ordering::Relaxed);
    let (start, mut peak) = (Instant::now(), before);
    while start.elapsed() < ATTACK && peak < before + 4 * BOUND {
        peak = peak.max(viewer.rss_kb());
        thread::sleep(Duration::from_millis(10));
    }
    attacks.store(false, Ordering::Relaxed);
    let shown = numbers(dir.path()).len();
    eventually("the picture comes again", || {
        numbers(dir.path()).len() > shown + 5
    });
    let report = stop_and_report(viewer);
    eprintln!("{payload:?}: {} kB, {sent:?} sent, {report}", peak - before);
    peak - before
}

/// Sends frames, and the payload on all streams while `attacks` is set.
async fn serve(
    mut session: ViewerSession,
    payload: Payload,
    attacks: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
) -> Option<()> {
    session.answer(&["yard"]).await?;
    let camera = ServerMessage::Camera(camera_info("yard"));
    session.send_message(&camera).await?;
    let connection = session.connection.clone();
    let frames = send_yard(&connection);
    let floods = async {
        until(&attacks, true).await;
        let mut floods = JoinSet::new();
        for _ in 0..STREAMS {
            floods.spawn(payload.flood(connection.clone(), sent.clone()));
        }
        until(&attacks, false).await;
        floods.shutdown().await;
    };
    tokio::join!(frames, floods).0
}

async fn until(flag: &AtomicBool, value: bool) {
    while flag.load(Ordering::Relaxed) != value {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn lines_without_an_end_on_all_streams_cost_the_viewer_less_than_64_mib() {
    let grown = growth(Payload::EndlessLine);
    assert!(grown <= BOUND, "{grown} kB");
}

#[test]
fn frames_of_82_bytes_as_fast_as_streams_open_cost_the_viewer_less_than_64_mib() {
    let grown = growth(Payload::TinyFrame);
    assert!(grown <= BOUND, "{grown} kB");
}
