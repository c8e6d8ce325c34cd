//! JPEG in, boxes out: [`detect`] runs the model, [`track`] follows objects over the frames between two inferences.
//!
//! The crate does not know the relay: frames come in as bytes, results leave as [`protocol::detections`].

pub mod detect;
pub mod track;
