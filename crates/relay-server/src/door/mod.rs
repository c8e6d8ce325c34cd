//! The relay's UDP port and its two doors.
//!
//! ```text
//!              +-- port: is it QUIC of ours? --no--> plain: one datagram a frame ----+
//!  UDP 8081 ---+                             \                                       +--> Event --> the loop
//!              +---<-- answers                yes--> native: quinn, a task a peer ---+
//!
//!  plain viewers have a connected socket each on the same port; screens read their camera's feed
//! ```

pub mod native;
pub mod plain;
pub mod port;
pub mod session;
