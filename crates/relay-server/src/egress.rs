//! What became of the frames that left, by transport.

use std::sync::Arc;

use platform::egress::{EgressSnapshot, EgressStats};
use protocol::transport::Transport;

/// Counters of the frames that leave, by transport.
#[derive(Debug, Clone, Default)]
pub struct EgressByTransport {
    /// UDP viewers.
    pub udp: Arc<EgressStats>,
    /// QUIC viewers.
    pub quic: Arc<EgressStats>,
    /// HTTP clients, if there is an HTTP server.
    pub http: Option<Arc<EgressStats>>,
}

impl EgressByTransport {
    /// Returns each transport and its counters.
    pub(crate) fn transports(&self) -> impl Iterator<Item = (Transport, &EgressStats)> {
        let http = self.http.as_deref().map(|http| (Transport::Http, http));
        [(Transport::Udp, &*self.udp), (Transport::Quic, &*self.quic)]
            .into_iter()
            .chain(http)
    }

    /// Returns the viewers of now by UDP, by QUIC and by HTTP.
    pub(crate) fn viewers(&self) -> [usize; 3] {
        let http = self.http.as_deref();
        [Some(&*self.udp), Some(&*self.quic), http]
            .map(|stats| stats.map_or(0, |stats| stats.snapshot().viewers))
    }

    /// Returns the frames that left, and those that a viewer did not get, by all transports.
    pub(crate) fn totals(&self) -> [u64; 2] {
        let snapshots = self.transports().map(|(_, stats)| stats.snapshot());
        snapshots.fold([0; 2], |[sent, unsent], snapshot| {
            let EgressSnapshot {
                skipped, expired, ..
            } = snapshot;
            [sent + snapshot.sent, unsent + skipped + expired]
        })
    }
}
