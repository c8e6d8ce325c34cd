//! The relay's page in a real browser, with the real sender's demo scene before the relay's camera.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

mod ageing;
#[path = "../common/mod.rs"]
mod common;
mod connection;
mod layout;
mod login;
mod picture;
mod setup;
