//! Floods of frames by QUIC.

use std::sync::Arc;
use std::time::Duration;

use protocol::quic::Role;
use quinn::Connection;
use testkit::jpeg::Sketch;
use tokio::time::sleep;

use super::{Tally, Target, host};

/// Size of a frame: less than the overhead that a relay has for it.
const TINY: usize = 82;
const CAMERAS: usize = 8;
const HOSTS: usize = 4;
/// Streams that each camera opens side by side.
const WRITERS: usize = 32;

/// Sends frames of a few bytes as fast as streams can be opened.
pub(super) fn tiny_frames(target: &Target, tally: &Arc<Tally>) {
    let frame: Arc<[u8]> = tiny().into();
    for n in 0..CAMERAS {
        let (target, tally, frame) = (target.clone(), tally.clone(), frame.clone());
        tokio::spawn(async move {
            loop {
                let camera = format!("tiny{n}");
                if let Ok(session) = host::open(n % HOSTS, target.relay, Role::Send, &camera).await
                {
                    flood(&session.connection, &frame, &tally).await;
                }
                tally.refuse();
                sleep(Duration::from_millis(100)).await;
            }
        });
    }
}

async fn flood(connection: &Connection, frame: &Arc<[u8]>, tally: &Arc<Tally>) {
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..WRITERS {
        let (connection, frame, tally) = (connection.clone(), frame.clone(), tally.clone());
        writers.spawn(async move {
            while send(&connection, &frame).await.is_some() {
                tally.act();
            }
        });
    }
    writers.join_all().await;
}

/// Sends one frame on a stream of its own.
pub(super) async fn send(connection: &Connection, frame: &[u8]) -> Option<()> {
    let mut stream = connection.open_uni().await.ok()?;
    stream.write_all(frame).await.ok()?;
    stream.finish().ok()
}

fn tiny() -> Vec<u8> {
    let bare = Sketch::new(8, 8).bytes().len();
    // A comment's marker and length are four bytes.
    Sketch::new(8, 8)
        .segment(0xFE, &vec![b'.'; TINY - bare - 4])
        .bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tiny_frame_is_a_frame() {
        assert_eq!(tiny().len(), TINY);
        assert!(protocol::jpeg::scan(&tiny(), protocol::jpeg::Limits::NETWORK).is_ok());
    }
}
