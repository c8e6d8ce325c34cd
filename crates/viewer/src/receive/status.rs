//! What the receiving task knows of the relay, for the HUD, the log and the report.

use std::time::Instant;

use protocol::datagram::Foreign;
use protocol::geometry::Size;
use protocol::label::CameraName;
use protocol::lease::RelayKind;
use protocol::quic::CameraInfo;
use protocol::transport::Transport;
use quic::clock::Offset;

use crate::loss::FrameCounts;

/// The state of the connection by QUIC or HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkState {
    /// No connection (yet).
    Closed,
    /// The relay takes no further connection.
    Full,
    /// The answer was not a relay's.
    Nonsense,
    /// A connection is open.
    Open,
}

/// What the receiving task knows.
#[derive(Debug, Clone)]
pub(crate) struct ReceiveStatus {
    /// Whether the relay's name has an address.
    pub(crate) resolved: bool,
    /// The kind of relay at that address.
    pub(crate) relay: RelayKind,
    /// The state of the connection.
    pub(crate) link: LinkState,
    /// Time of the last change of these three.
    pub(crate) since: Instant,
    /// Whether the relay has ended several connections in a row at once.
    pub(crate) unstable: bool,
    /// The transport of the newest frame; before the first one, the transport that is tried first.
    pub(crate) transport: Transport,
    /// The cameras that are live, by the relay's list.
    pub(crate) cameras: Vec<CameraName>,
    /// What other software sends to the relay in place of JPEGs.
    pub(crate) foreign: Option<Foreign>,
    /// What the relay reports of the camera that is shown.
    pub(crate) camera_info: Option<CameraInfo>,
    /// Size of the frames as they came, while the relay sends smaller renditions of them.
    pub(crate) rendition_of: Option<Size>,
    /// The relay's clock less the viewer's.
    pub(crate) clock_offset: Option<Offset>,
    /// Frames so far.
    pub(crate) counts: FrameCounts,
    /// Detections messages so far.
    pub(crate) detections: u64,
    /// Datagrams, streams and lines that were of no use.
    pub(crate) dropped: u64,
    /// Frames that a newer one overtook before they could be shown.
    pub(crate) overtaken: u64,
    /// An error that no waiting helps against.
    pub(crate) failure: Option<String>,
}

impl ReceiveStatus {
    /// Creates the status before anything has come.
    pub(crate) fn new(first: Transport, now: Instant) -> Self {
        Self {
            resolved: false,
            relay: RelayKind::Silent,
            link: LinkState::Closed,
            since: now,
            unstable: false,
            transport: first,
            cameras: Vec::new(),
            foreign: None,
            camera_info: None,
            rendition_of: None,
            clock_offset: None,
            counts: FrameCounts::default(),
            detections: 0,
            dropped: 0,
            overtaken: 0,
            failure: None,
        }
    }
}
