//! A frame that a camera was allowed to send, on its way through the relay.

use std::time::Instant;

use bytes::Bytes;
use protocol::SMALL_FRAME;
use protocol::frame::Frame;
use protocol::geometry::Size;
use protocol::label::Label;
use protocol::transport::Transport;

use crate::fair::Payer;

/// A camera's number for as long as the relay runs. A camera that is displaced leaves its number to the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CameraId(pub usize);

/// An accepted frame.
#[derive(Debug, Clone, PartialEq)]
pub struct CameraFrame {
    /// The camera.
    pub camera: CameraId,
    /// Number of the frame among the camera's accepted ones, from 1.
    pub count: u64,
    /// The frame as it was received.
    pub frame: Frame,
    /// The frame's own label; for a frame without one the label that the relay gives it.
    pub label: Label,
    /// Time of arrival.
    pub received_at: Instant,
    /// Transport by which it came.
    pub transport: Transport,
    /// Host of its source, whose part of the threads' time its jobs take.
    pub payer: Payer,
}

impl CameraFrame {
    /// Returns the JPEG as it was received.
    pub fn jpeg(&self) -> &Bytes {
        &self.frame.jpeg
    }

    /// Returns the picture's size in pixels, by the JPEG's header.
    pub fn size(&self) -> Size {
        self.frame.size
    }

    /// Returns whether UDP viewers are sent a smaller rendition: it has more bytes than cross a lossy path well as one
    /// datagram, and its sender did not choose so.
    pub fn is_reduced_for_udp(&self) -> bool {
        self.transport != Transport::Udp && self.jpeg().len() > SMALL_FRAME
    }

    /// Returns the number of pixels, by the JPEG's header.
    pub(crate) fn pixels(&self) -> u64 {
        u64::from(self.size().width) * u64::from(self.size().height)
    }

    /// Returns the JPEG with its label: as it was received, or a copy with the relay's label inserted.
    pub fn labelled(&self) -> Bytes {
        match self.frame.label {
            Some(_) => self.jpeg().clone(),
            None => self.label.write(self.jpeg()).into(),
        }
    }

    /// Returns the same frame with another JPEG in it: the one with boxes drawn in.
    #[must_use]
    pub fn with_jpeg(&self, jpeg: Bytes) -> Self {
        let frame = Frame {
            jpeg,
            ..self.frame.clone()
        };
        Self {
            frame,
            ..self.clone()
        }
    }
}
