//! What is on Sightline's wire, and when. Pure: bytes and time in, decisions out; no socket, clock, thread or codec.
//!
//! ```text
//!             UDP 8081                        UDP 8081
//! pi-sender ------------> relay-server <-------------------- viewer
//!            one whole    every Nth frame   "Request" or hello
//!            JPEG a       through the model
//!            datagram                      -------------------->
//!                                           one whole JPEG a datagram,
//!                                           accept in answer to a hello
//! ```
//!
//! **`udp` transport.** Each datagram is one whole JPEG of at most 65 507 bytes ([`datagram::MAX_DATAGRAM`]), in both
//! directions, or the 7 bytes `Request` ([`datagram::REQUEST`]) of a viewer, or a control message ([`control`]). A
//! datagram is a frame only if it starts `FF D8 FF`, ends in EOI (zero padding allowed), its frame header declares a size
//! from 1x1 to 4096x4096 and decoding it costs no more than [`jpeg::Limits::NETWORK`] allows ([`jpeg::scan`]). Everything
//! else is counted by [`datagram::DropReason`] and dropped.
//!
//! **Label.** Our sender writes the stream id, camera name, frame number and capture time into the JPEG ([`label`]);
//! the picture stays an ordinary JPEG. Frames without one are cameras too.
//!
//! **Leases.** A tutorial viewer sends `Request` once and keeps its lease; ours sends a hello every 2 s ([`lease`]). An
//! address that answered nothing within 300 ms gets one `Request`; one that echoed a hello or sent a frame gets none,
//! since it is a tutorial relay that streams already and would crash on it.
//!
//! **Local port.** A tutorial relay streams to the address of the first `Request` without limit. So our viewer sends
//! from port 8082 if that is free: started again, it is the same viewer to such a relay, and to a router.
//!
//! **`quic` transport.** QUIC on the same port ([`quic`]), used with a [`ticket`], or without one after the relay has
//! answered by the `udp` transport that it is ours: no byte of QUIC goes to a peer that may be a tutorial's.
//!
//! **HTTP.** The same frames and messages by WebSocket and by single requests, also where UDP is blocked ([`http`]).
//!
//! **Detections.** One line of JSON for each inferred frame ([`detections`]).
//!
//! **Events.** One line of JSON for what an object in the picture or a camera does ([`event`]).

pub mod ageing;
pub mod control;
pub mod datagram;
pub mod detections;
pub mod event;
pub mod every;
pub mod frame;
pub mod geometry;
pub mod health;
pub mod http;
pub mod jpeg;
pub mod label;
pub mod lease;
pub mod peer;
pub mod quic;
pub mod sequence;
pub mod text;
pub mod ticket;
pub mod transport;

use std::time::Duration;

/// Time without a frame after which a camera is not live, and another source may take its name.
pub const CAMERA_TIMEOUT: Duration = Duration::from_secs(3);
/// Largest frame, in bytes, that crosses a lossy path well as one UDP datagram: ten IP fragments.
pub const SMALL_FRAME: usize = 15_000;
/// Largest frame in bytes that the `quic` transport and HTTP carry; a datagram carries [`datagram::MAX_DATAGRAM`]. A picture
/// of 4096x4096 at quality 80 takes about 3 MB.
pub const MAX_FRAME: usize = 4 << 20;
/// UDP port of the relay, for senders and viewers.
pub const RELAY_PORT: u16 = 8081;
/// UDP port that our viewer sends from if it is free.
pub const VIEWER_PORT: u16 = 8082;
