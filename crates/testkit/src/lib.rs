//! What Sightline's tests share: JPEG fixtures and a harness for the real binaries. Never part of a release.

pub mod jpeg;
