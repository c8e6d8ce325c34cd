//! What the operator should know; the shell logs it.

use std::net::SocketAddr;

use protocol::control::LeaseVerdict;
use protocol::label::CameraName;

/// Something that the operator should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The first frame of a camera.
    CameraAppeared(CameraName, SocketAddr),
    /// A camera goes on from another address, port or stream.
    CameraMoved(CameraName, SocketAddr),
    /// Another source sends under the name of a live camera.
    NameInUse(CameraName, SocketAddr),
    /// The first 1472-byte piece of a JPEG.
    Pieces(SocketAddr),
    /// The rate limit of UDP viewers was reached for the first time.
    UdpEgressReached,
    /// The demo model finds nothing in this camera's pictures.
    DemoMismatch(CameraName),
    /// A UDP viewer got no lease, for this reason.
    ViewerRefused(SocketAddr, LeaseVerdict),
}
