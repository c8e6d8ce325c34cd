//! Ends a connection whose client does not read: else its slot, and the frame that waits for it, are held without limit.

use std::future::Future as _;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// A stream on which what waits for the client has to leave in time. A client that reads too little is as idle as one that
/// reads nothing, so the deadline is that of all bytes that waited when the stream was first full.
#[derive(Debug)]
pub(super) struct StallGuard<S> {
    stream: S,
    timeout: Duration,
    stall: Option<Stall>,
}

/// A stream that was full.
#[derive(Debug)]
struct Stall {
    /// Bytes that waited then and wait still.
    waiting: usize,
    deadline: Pin<Box<Sleep>>,
}

impl<S> StallGuard<S> {
    pub(super) fn new(stream: S, timeout: Duration) -> Self {
        Self {
            stream,
            timeout,
            stall: None,
        }
    }

    /// Passes on the result of a write of which `offered` bytes waited.
    fn check(
        &mut self,
        cx: &mut Context<'_>,
        offered: usize,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(count)) => {
                if let Some(stall) = &mut self.stall {
                    stall.waiting = stall.waiting.saturating_sub(count);
                }
                self.stall.take_if(|stall| stall.waiting == 0);
                Poll::Ready(Ok(count))
            }
            Poll::Pending => {
                let timeout = self.timeout;
                let stall = self.stall.get_or_insert_with(|| Stall {
                    waiting: offered,
                    deadline: Box::pin(sleep(timeout)),
                });
                ready!(stall.deadline.as_mut().poll(cx));
                let why = "the client does not read what waits for it";
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)))
            }
            error => error,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for StallGuard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for StallGuard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.check(cx, buf.len(), written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        let offered = bufs.iter().map(|buf| buf.len()).sum();
        self.check(cx, offered, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::time::Instant;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    fn pair() -> (StallGuard<DuplexStream>, DuplexStream) {
        let (relay, client) = duplex(100);
        (StallGuard::new(relay, TIMEOUT), client)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_dropped_after_the_timeout() {
        let (mut relay, _client) = pair();
        let start = Instant::now();
        let written = relay.write_all(&[0; 200]).await;
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(start.elapsed().as_secs(), TIMEOUT.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_a_byte_now_and_then_is_dropped_too() {
        let (mut relay, mut client) = pair();
        let drip = tokio::spawn(async move {
            while client.read_u8().await.is_ok() {
                sleep(TIMEOUT / 10).await;
            }
        });
        assert!(relay.write_all(&[0; 200]).await.is_err());
        drop(relay);
        drip.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_client_that_takes_each_frame_in_time_goes_on() {
        let (mut relay, mut client) = pair();
        let slow = tokio::spawn(async move {
            let mut frame = [0; 200];
            while client.read_exact(&mut frame).await.is_ok() {
                sleep(TIMEOUT * 2 / 3).await;
            }
        });
        for _ in 0..10 {
            relay.write_all(&[0; 200]).await.unwrap();
        }
        drop(relay);
        slow.await.unwrap();
    }
}
