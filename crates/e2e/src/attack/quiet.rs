//! Peers that keep to the rules and use what they learn: one that reads the public label, and one that has many cameras.

use std::time::Duration;

use protocol::quic::Role;
use quic::client::Session;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::{Target, host};

/// Longest wait for a frame.
const PATIENCE: Duration = Duration::from_secs(10);
const LARGEST: usize = 100_000;

/// Views the camera, and returns one frame with its label.
///
/// # Panics
/// If none comes.
pub fn watch_one_frame(target: &Target) -> Vec<u8> {
    let watch = async {
        let viewer = host::open(0, target.relay, Role::View, &target.camera).await;
        let session = viewer.expect("an open relay lets viewers in");
        loop {
            let stream = session.connection.accept_uni().await;
            let mut stream = stream.expect("the connection stays");
            // The stream of detections has no end.
            let reading = timeout(Duration::from_secs(1), stream.read_to_end(LARGEST)).await;
            if let Ok(Ok(frame)) = reading
                && frame.starts_with(&[0xFF, 0xD8])
            {
                return frame;
            }
        }
    };
    let frame = runtime().block_on(async { timeout(PATIENCE, watch).await });
    frame.expect("frames come")
}

/// Cameras of one host that send nothing.
#[derive(Debug)]
pub struct Cameras {
    sessions: Vec<Session>,
    _runtime: Runtime,
}

impl Cameras {
    /// Opens so many, each by a connection of its own.
    pub fn open(target: &Target, count: usize) -> Self {
        let runtime = runtime();
        let mut sessions = Vec::new();
        for n in 0..count {
            let camera = format!("squat{n}");
            let opening = host::open(0, target.relay, Role::Send, &camera);
            sessions.extend(runtime.block_on(opening).ok());
        }
        Self {
            sessions,
            _runtime: runtime,
        }
    }

    /// Returns the number of those that are still open.
    pub fn open_now(&self) -> usize {
        let open = |session: &&Session| session.connection.close_reason().is_none();
        self.sessions.iter().filter(open).count()
    }
}

fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("the system has descriptors left")
}
