//! Names that belong to others, names without end, and what else draws a line of the log.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use protocol::label::{CameraName, Label, StreamId};
use protocol::quic::Role;
use testkit::jpeg::Sketch;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::datagrams::pick;
use super::handshakes::connect;
use super::pace::steadily;
use super::{Tally, Target, host};

/// Names beside the honest camera's.
const NAMES: u64 = 200;
/// Connections that are tried or held at a time.
const AT_A_TIME: usize = 200;
/// Time for which a name is held.
const HELD: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(2);

/// Sends under the honest camera's name and under 200 others, by UDP, by QUIC and by HTTP.
pub(super) async fn squat(target: Target, tally: Arc<Tally>) {
    let sockets = host::sockets(1, target.relay);
    let by_udp = steadily(1000, |n| {
        let name = match n % 4 {
            0 => target.camera.clone(),
            _ => format!("udp{}", n % NAMES),
        };
        tally.outcome(datagram(pick(&sockets, n), &target, &name, n));
    });
    let room = Arc::new(Semaphore::new(AT_A_TIME));
    let by_quic = steadily(60, |n| {
        let name = match n % 4 {
            0 => target.camera.clone(),
            _ => format!("quic{}", n % NAMES),
        };
        visit(n, Role::Send, name, HELD, &target, &tally, &room);
    });
    let by_http = steadily(30, |n| {
        let (target, tally) = (target.clone(), tally.clone());
        tokio::spawn(async move {
            let name = match n % 4 {
                0 => target.camera.clone(),
                _ => format!("http{}", n % NAMES),
            };
            tally.outcome(post(n, &name, &target).await.is_some());
        });
    });
    tokio::join!(by_udp, by_quic, by_http);
}

/// Posts a frame with a label of anything; `None` if it was refused.
async fn post(n: u64, camera: &str, target: &Target) -> Option<()> {
    let mut stream = connect(n as usize, target).await?;
    let frame = frame(camera, n)?;
    let head = format!(
        "POST /cam/{camera}/frame HTTP/1.1\r\nhost: nas\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        frame.len()
    );
    stream.write_all(head.as_bytes()).await.ok()?;
    stream.write_all(&frame).await.ok()?;
    let mut answer = [0; 512];
    let read = timeout(PATIENCE, stream.read(&mut answer)).await;
    let length = read.ok()?.ok()?;
    answer[..length].starts_with(b"HTTP/1.1 204").then_some(())
}

/// Sends a frame with the largest number and a label of anything.
fn datagram(socket: &UdpSocket, target: &Target, camera: &str, number: u64) -> bool {
    let frame = frame(camera, number);
    frame.is_some_and(|frame| socket.send_to(&frame, target.relay).is_ok())
}

/// Returns a frame with the largest number and a label of anything.
fn frame(camera: &str, number: u64) -> Option<Vec<u8>> {
    let label = Label {
        stream: StreamId(number),
        seq: u64::MAX - number,
        captured_us: number,
        camera: camera.parse::<CameraName>().ok()?,
    };
    Some(label.write(&Sketch::new(16, 16).bytes()))
}

/// Opens a connection, holds it for a while, and counts whether it was taken.
fn visit(
    n: u64,
    role: Role,
    camera: String,
    held: Duration,
    target: &Target,
    tally: &Arc<Tally>,
    room: &Arc<Semaphore>,
) {
    let Ok(permit) = room.clone().try_acquire_owned() else {
        return;
    };
    let (relay, tally) = (target.relay, tally.clone());
    tokio::spawn(async move {
        let opened = timeout(PATIENCE, host::open(n as usize, relay, role, &camera)).await;
        tally.outcome(matches!(opened, Ok(Ok(_))));
        if let Ok(Ok(session)) = opened {
            let _ = timeout(held, session.connection.closed()).await;
        }
        drop(permit);
    });
}

/// Joins and leaves, is refused, and sends nonsense, by all transports.
pub(super) async fn fill_log(target: Target, tally: Arc<Tally>) {
    let room = Arc::new(Semaphore::new(AT_A_TIME));
    let by_quic = steadily(60, |n| {
        let (role, camera) = match n % 3 {
            0 => (Role::View, "nowhere".to_owned()),
            1 => (Role::Send, target.camera.clone()),
            _ => (Role::Send, format!("\u{1b}[2J new\n{n}")),
        };
        visit(n, role, camera, Duration::ZERO, &target, &tally, &room);
    });
    let sockets = host::sockets(1, target.relay);
    let by_udp = steadily(500, |n| {
        tally.outcome(datagram(pick(&sockets, n), &target, &format!("new{n}"), n));
        let piece = [&[0xFF, 0xD8, 0xFF][..], &[0x55; 1469]].concat();
        let _ = pick(&sockets, n).send_to(&piece, target.relay);
    });
    let by_http = steadily(100, |n| {
        let (target, tally) = (target.clone(), tally.clone());
        tokio::spawn(async move {
            tally.outcome(nonsense(n, &target).await.is_some());
        });
    });
    tokio::join!(by_quic, by_udp, by_http);
}

/// Requests what is not there, with a name that would break out of a line.
async fn nonsense(n: u64, target: &Target) -> Option<()> {
    let mut stream = connect(n as usize, target).await?;
    let request = format!(
        "GET /cam/%1b%5b2J{n}/ws?token={n} HTTP/1.1\r\nhost: \u{1b}evil{n}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = [0; 512];
    let read = timeout(PATIENCE, stream.read(&mut answer)).await;
    sleep(Duration::from_millis(1)).await;
    matches!(read, Ok(Ok(1..))).then_some(())
}
