//! The ways in which frames travel.

/// The transport of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// One JPEG a datagram, as in the tutorial.
    Udp,
    /// QUIC, one stream a frame.
    Quic,
    /// HTTP: MJPEG or WebSocket.
    Http,
}

impl Transport {
    /// Returns the name in flags, reports, metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Quic => "quic",
            Self::Http => "http",
        }
    }
}
