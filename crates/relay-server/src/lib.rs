//! stub
pub mod detect;
pub mod relay;
