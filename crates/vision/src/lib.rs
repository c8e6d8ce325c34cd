//! JPEG in, boxes out. [`detect`] runs the model, [`track`] follows its objects over the frames between two inferences.
//!
//! Nothing here knows the relay: a frame comes as bytes, a result leaves as [`protocol::detections`].

pub mod detect;
pub mod track;
