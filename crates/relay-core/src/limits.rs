//! The relay's bounds against hostile peers, each with its reason. `.github/SECURITY.md` lists them.
//!
//! What all programs share is bounded where it is parsed: the decoding budget in `protocol::jpeg`, lines in
//! `protocol::quic`, frame numbers in `protocol::sequence`, leases in `protocol::lease`, log lines in `platform::logging`.

use std::time::Duration;

use protocol::MAX_FRAME;
use protocol::quic::MAX_CAMERAS;

/// Most QUIC connections. One that is idle costs about 60 kB, one that is blocked the frames in flight on it.
pub const QUIC_CONNECTIONS: usize = 1024;
/// Most HTTP connections: each needs a descriptor, and where the limit cannot be raised a process often has 1024 in all.
pub const HTTP_CONNECTIONS: usize = 512;
/// HTTP requests that are answered in a second: all of them take a tenth of a processor, and one that waits behind one of
/// each connection is answered in a quarter of a second.
pub const HTTP_REQUEST_RATE: f64 = 2000.0;
/// HTTP requests at once: pages that all come back after a restart of the relay.
pub const HTTP_REQUEST_BURST: f64 = 512.0;
/// Part of a private relay's connections that is reserved for peers with a ticket, and again for those that only arrive.
pub const RESERVED_PART: usize = 8;
/// Time in which an honest peer shows what it is, also over a slow network. Later, it gives way in a full table to any
/// newcomer: else as many hosts as there are slots could each occupy one and send nothing.
pub const ARRIVAL: Duration = Duration::from_secs(2);
/// Cameras of one host that get a slot from unvalidated ones in any case: twenty behind one router are honest.
pub const HOST_CAMERAS: usize = 20;
/// Time after which a connected camera keeps its connection and its slot whatever comes.
pub const ESTABLISHED_AFTER: Duration = Duration::from_secs(60);

/// Most hosts that are known to have, or to have had, a QUIC connection; as many as all connections, and as many again.
pub const KNOWN_HOSTS: usize = 2 * QUIC_CONNECTIONS;

/// Handshakes a second of hosts that have made no more than [`FEW_HANDSHAKES`] of late: 256 such hosts make 51. One costs
/// about half a millisecond of the thread that forwards frames.
pub const HANDSHAKES_OF_FEW: f64 = 60.0;
/// Handshakes a second of all other hosts.
pub const HANDSHAKES_OF_MANY: f64 = 40.0;
/// Handshakes at once: twenty cameras and as many viewers behind one router, after a restart of the relay.
pub const HANDSHAKE_BURST: f64 = 40.0;
/// Number of handshakes within [`HANDSHAKE_WINDOW`] that is few.
pub const FEW_HANDSHAKES: u32 = 2;
/// Time over which the handshakes of a host are counted.
pub const HANDSHAKE_WINDOW: Duration = Duration::from_secs(10);
/// Most hosts whose handshakes are counted.
pub const HANDSHAKE_HOSTS: usize = 1024;

/// Events of validated peers, threads and queries that may wait for the loop.
pub const EVENT_QUEUE: usize = 256;
/// Part of [`EVENT_QUEUE`] that HTTP clients and new subscribers can fill.
pub const QUERY_QUEUE: usize = EVENT_QUEUE / 8;
/// Datagrams that may wait for the loop, in a queue of their own: a flood of them delays no frame of a validated peer.
pub const DATAGRAM_QUEUE: usize = 256;

/// Frames a second of one sender above which it has to wait: twice the fastest camera's, so that a flood of tiny frames
/// takes no time from other cameras.
pub const FRAME_RATE: f64 = 250.0;
/// Frames of one sender at once.
pub const FRAME_BURST: f64 = 64.0;
/// Streams a second of one sender above which it has to wait, also such that it resets: ours open one for each frame.
pub const STREAM_RATE: u32 = 300;
/// Lines a second of one peer above which it has to wait: ours send fewer than two.
pub const LINE_RATE: f64 = 20.0;
/// Lines of one peer at once.
pub const LINE_BURST: f64 = 40.0;

/// Bytes that the relay holds of all senders without a ticket: what has arrived and was not read, and frames that are
/// incomplete or wait for the loop.
pub const INPUT_BYTES: usize = 64 << 20;
/// The same of the senders of one host.
pub const HOST_INPUT_BYTES: usize = 16 << 20;
/// Flow-control window of one sender without a ticket: at a round trip of 50 ms it lets 60 Mbit/s through.
pub const SENDER_WINDOW: usize = 384 << 10;
/// What the windows of one host's senders beyond the first five share.
pub const HOST_WINDOWS: usize = 1_900_000;
/// Least window of a sender, and bytes of its frames that it may always make the relay hold: the largest datagram's frame,
/// and the beginning of the next.
pub const LEAST_SHARE: usize = 80 << 10;
/// Most bytes of frames that the relay holds of one sender: the largest frame, and smaller ones behind it.
pub const SENDER_FRAMES: usize = MAX_FRAME + SENDER_WINDOW;
/// Flow-control window of a sender with a ticket.
pub const TICKET_WINDOW: usize = 2 << 20;
/// Bytes that the relay holds of all senders with a ticket: of each its window and its frames.
pub const TICKET_INPUT_BYTES: usize = MAX_CAMERAS * (TICKET_WINDOW + SENDER_FRAMES);

/// Frames of one camera that wait for the model after the loop has taken them: the newest that is due.
pub const MODEL_FRAMES: usize = 1;
/// The same for the tracker: they come in bunches by QUIC.
pub const TRACKING_FRAMES: usize = 2;
/// The same for the thread that draws: one for UDP viewers and one for subscribers.
pub const ANNOTATION_FRAMES: usize = 2;

/// Renditions for viewers of one camera that wait, all of its newest frame: all forms that there are, and one more.
pub const RENDITION_FORMS: usize = 8;
/// Renditions for snapshots that wait: of four cameras at four sizes each.
pub const SNAPSHOT_RENDITIONS: usize = 16;
/// Renditions that are kept for the next client, of viewers and of snapshots each.
pub const KEPT_RENDITIONS: usize = 16;
/// Most bytes of those, with the frames that they were made of: two of the largest pictures. The newest may come on top.
pub const KEPT_RENDITION_BYTES: usize = 16 << 20;

/// Most sources of which it is known what they send in place of JPEGs; when more come, the first are reported anew.
pub const FOREIGN_SOURCES: usize = 64;

/// Time between two refusals to one address by UDP: a sender learns of it within 2 s even if one is lost.
pub const REFUSAL_INTERVAL: Duration = Duration::from_secs(1);
/// Most refusals by UDP within [`REFUSAL_INTERVAL`].
pub const REFUSALS: usize = 64;
/// Time between two `upgrade` messages to a sender.
pub const UPGRADE_INTERVAL: Duration = Duration::from_secs(5);
/// Time between two `upgrade` messages of a private relay, to all senders together.
pub const PRIVATE_UPGRADE_INTERVAL: Duration = Duration::from_millis(200);
/// Time after a frame was due for the model in which a request for one annotated picture makes no other one due: such
/// requests take at most two inferences a second of a camera.
pub const REQUESTED_INFERENCE_INTERVAL: Duration = Duration::from_millis(500);
