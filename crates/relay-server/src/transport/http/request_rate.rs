//! The rate of answers, whatever clients request: more would take the processor from the threads of other transports.

use std::time::{Duration, Instant};

use relay_core::TokenBucket;
use relay_core::limits::{HTTP_REQUEST_BURST, HTTP_REQUEST_RATE};
use tokio::sync::Mutex;
use tokio::time::sleep;

/// Time after which a request that waits looks again: in that time come tokens for ten.
const WAIT: Duration = Duration::from_millis(5);

/// All requests in one row, the first that came first. A client that leaves takes no other's turn with it, so none waits for
/// longer than the requests of all open connections take, one each: a quarter of a second.
#[derive(Debug)]
pub(super) struct RequestRate(Mutex<TokenBucket>);

impl RequestRate {
    pub(super) fn new() -> Self {
        let bucket = TokenBucket::new(HTTP_REQUEST_RATE, HTTP_REQUEST_BURST, Instant::now());
        Self(Mutex::new(bucket))
    }

    /// Waits for a request's turn.
    pub(super) async fn turn(&self) {
        let mut bucket = self.0.lock().await;
        while !bucket.take(1.0, Instant::now()) {
            sleep(WAIT).await;
        }
    }
}
