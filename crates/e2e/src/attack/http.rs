//! Requests for what the relay has to make first.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::handshakes::connect;
use super::{Tally, Target};

const REQUEST: &[u8] = b"GET /metrics HTTP/1.1\r\nhost: nas\r\n\r\n";

/// Requests metrics on so many connections, each again as soon as it is answered.
pub(super) fn metrics(target: &Target, tally: &Arc<Tally>, connections: usize) {
    for n in 0..connections {
        let (target, tally) = (target.clone(), tally.clone());
        tokio::spawn(async move {
            loop {
                if let Some(mut stream) = connect(n, &target).await {
                    while exchange(&mut stream).await.is_some() {
                        tally.act();
                    }
                }
                tally.refuse();
                sleep(Duration::from_millis(100)).await;
            }
        });
    }
}

/// Sends the request and reads its answer; `None` if it is not the metrics.
async fn exchange(stream: &mut TcpStream) -> Option<()> {
    stream.write_all(REQUEST).await.ok()?;
    let mut answer = Vec::new();
    let head = loop {
        if stream.read_buf(&mut answer).await.ok()? == 0 {
            return None;
        }
        if let Some(at) = answer.windows(4).position(|four| four == b"\r\n\r\n") {
            break String::from_utf8_lossy(&answer[..at]).to_lowercase();
        }
    };
    let length = head.split("content-length: ").nth(1)?;
    let length: usize = length.lines().next()?.trim().parse().ok()?;
    let mut rest = (head.len() + 4 + length).saturating_sub(answer.len());
    while rest > 0 {
        answer.clear();
        match stream.read_buf(&mut answer).await.ok()? {
            0 => return None,
            read => rest = rest.saturating_sub(read),
        }
    }
    head.starts_with("http/1.1 200").then_some(())
}
