//! The transports: how frames come in and leave.
//!
//! ```text
//!              +-- port: QUIC of ours? --no---> udp: one datagram a frame ----+
//!  UDP 8081 ---+                       \                                      +--> Event --> the loop
//!              +---<-- replies          yes--> quic: quinn, a task a peer ----+
//!  TCP 8080 -------------------------------> http: page, MJPEG, WebSocket ----+
//!
//!  UDP viewers have a connected socket each on the same port; subscribers (QUIC, HTTP) read their camera's feed
//! ```

mod connections;
pub mod http;
pub mod port;
pub mod quic;
pub mod quic_session;
pub mod udp;
