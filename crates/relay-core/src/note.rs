//! What the operator should know; the shell logs it.

use std::net::SocketAddr;
use std::time::Duration;

use protocol::control::LeaseVerdict;
use protocol::datagram::Foreign;
use protocol::label::CameraName;

/// Something that the operator should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The first frame of a camera.
    CameraAppeared(CameraName, SocketAddr),
    /// A camera goes on from another address, port or stream, or after it was gone.
    CameraMoved(CameraName, SocketAddr),
    /// A camera's frames come no more, for this long; `None` if its slot went to another camera.
    CameraGone(CameraName, Option<Duration>),
    /// Another source sends under the name of a live camera.
    NameInUse(CameraName, SocketAddr),
    /// A host sends something that is no JPEG.
    Foreign(Foreign, SocketAddr),
    /// The rate limit of UDP viewers was reached for the first time.
    UdpEgressReached,
    /// The demo model finds nothing in this camera's pictures.
    DemoMismatch(CameraName),
    /// A UDP viewer got no lease, for this reason.
    ViewerRefused(SocketAddr, LeaseVerdict),
}
