//! Lines and frames that never end, and lines that never stop.

use std::sync::Arc;
use std::time::Duration;

use protocol::MAX_FRAME;
use protocol::quic::{ClientMessage, Ping, to_line};
use quinn::{Connection, SendStream};
use tokio::time::sleep;

use super::host::RawSender;
use super::{Tally, Target};

const CONNECTIONS: usize = 24;
/// Streams of a connection: as many as the relay permits.
const STREAMS: usize = 128;
/// Bytes of a line without an end: four times what any program waits for.
const LINE: usize = 1 << 20;
/// Bytes of a frame without an end: nearly the largest.
const FRAME: usize = MAX_FRAME - 1000;
const PINGERS: usize = 8;
/// Pings of one write.
const PINGS: u64 = 64;

/// Sends lines and frames without an end on all streams of all connections.
pub(super) fn endless(target: &Target, tally: &Arc<Tally>) {
    for n in 0..CONNECTIONS {
        again_and_again(n, target, tally, fill_all);
    }
}

/// Sends pings without a pause.
pub(super) fn pings(target: &Target, tally: &Arc<Tally>) {
    for n in 0..PINGERS {
        again_and_again(n, target, tally, ping);
    }
}

/// Opens a connection, lets `act` have it until it ends, and opens the next.
fn again_and_again<F: Future<Output = ()> + Send + 'static>(
    n: usize,
    target: &Target,
    tally: &Arc<Tally>,
    act: fn(RawSender, Arc<Tally>) -> F,
) {
    let (target, tally) = (target.clone(), tally.clone());
    tokio::spawn(async move {
        loop {
            if let Some(sender) = RawSender::open(n, target.relay, &format!("line{n}")).await {
                act(sender, tally.clone()).await;
            }
            tally.refuse();
            sleep(Duration::from_millis(100)).await;
        }
    });
}

/// Fills all streams of a connection, and holds them open until the relay stops them.
async fn fill_all(sender: RawSender, tally: Arc<Tally>) {
    let mut streams = tokio::task::JoinSet::new();
    let line: Arc<[u8]> = [b"{".as_slice(), &[b' '; LINE]].concat().into();
    let frame: Arc<[u8]> = [&[0xFF, 0xD8, 0xFF][..], &[b' '; FRAME]].concat().into();
    for n in 0..STREAMS {
        let (connection, tally) = (sender.connection.clone(), tally.clone());
        let bytes = if n % 2 == 0 { &line } else { &frame }.clone();
        streams.spawn(async move {
            while let Some(stream) = fill(&connection, &bytes).await {
                tally.act();
                let _ = stream.stopped().await;
            }
        });
    }
    streams.join_all().await;
}

async fn fill(connection: &Connection, bytes: &[u8]) -> Option<SendStream> {
    let mut stream = connection.open_uni().await.ok()?;
    let _ = stream.write_all(bytes).await;
    connection.close_reason().is_none().then_some(stream)
}

/// Sends pings and reads what comes back.
async fn ping(mut sender: RawSender, tally: Arc<Tally>) {
    let pings: Vec<u8> = (0..PINGS)
        .flat_map(|t1| to_line(&ClientMessage::Ping(Ping { t1 })))
        .collect();
    let read = async { while let Ok(Some(_)) = sender.answers.read_chunk(1 << 16, true).await {} };
    let write = async {
        while sender.control.write_all(&pings).await.is_ok() {
            tally.acts(PINGS);
        }
    };
    tokio::join!(read, write);
}
