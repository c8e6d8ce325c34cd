//! `--mqtt URL`: state, events and pictures at an MQTT broker, and Home Assistant's discovery.

pub mod broker;
pub mod discovery;
pub mod outbox;
pub mod seen;
pub mod session;
pub mod topics;
