//! A camera that films the demo scene, and sends by UDP.

#![allow(dead_code, reason = "each test file uses its part")]
#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use imaging::jpeg;
use protocol::geometry::Size;
use protocol::label::{Label, StreamId};
use scene::Scene;

pub(crate) const SIZE: Size = Size {
    width: 300,
    height: 200,
};

/// Sends frames of the demo scene until the value is dropped.
pub(crate) struct Film {
    stop: std::sync::Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Film {
    pub(crate) fn start(socket: &UdpSocket, interval: Duration) -> Self {
        let socket = socket.try_clone().unwrap();
        let stop = std::sync::Arc::<AtomicBool>::default();
        let stopped = stop.clone();
        let film = move || {
            let scene = Scene::new(5, SIZE, 20.0, 60.0).unwrap();
            for seq in 1.. {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                socket.send(&frame(&scene, seq)).unwrap();
                thread::sleep(interval);
            }
        };
        let thread = Some(thread::spawn(film));
        Self { stop, thread }
    }
}

impl Drop for Film {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

pub(crate) fn frame(scene: &Scene, seq: u64) -> Vec<u8> {
    let label = Label {
        stream: StreamId(7),
        seq,
        captured_us: 1_700_000_000_000_000 + seq,
        camera: "yard".parse().unwrap(),
    };
    label.write(&jpeg::encode(&scene.draw(seq).unwrap(), 80).unwrap())
}
