//! What the operator chose.

use std::str::FromStr;

use protocol::every::Every;
use protocol::label::StreamId;

/// Which frames UDP viewers see with boxes drawn in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlay {
    /// Each inferred frame, as in the tutorial.
    EveryNth,
    /// Every frame.
    Hold,
    /// None.
    None,
}

impl Overlay {
    /// All choices, in the order in which they are offered.
    pub const ALL: [Self; 3] = [Self::EveryNth, Self::Hold, Self::None];

    /// Returns the name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::EveryNth => "every-nth",
            Self::Hold => "hold",
            Self::None => "none",
        }
    }
}

impl FromStr for Overlay {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|overlay| overlay.name() == s);
        found.ok_or_else(|| "every-nth, hold or none".to_owned())
    }
}

/// The relay's settings for as long as it runs.
#[derive(Debug, Clone)]
pub struct RelaySettings {
    /// Which frames go to the model; `None` without a model.
    pub every: Option<Every>,
    /// Most frames, of as many cameras, that the model is given at a time.
    pub batch: usize,
    /// Pause of the model after an answer, as a multiple of the time that the answer took, with [`Every::Auto`]: keeps the
    /// model within its share of the machine.
    pub model_rest_factor: f64,
    /// Which frames UDP viewers see with boxes drawn in.
    pub overlay: Overlay,
    /// Whether an output reads the detections of all cameras, so that they are made without a viewer too.
    pub output_reads_detections: bool,
    /// Name of the model in detections messages.
    pub model: String,
    /// Whether the model is the demo model, which knows the demo scene and nothing else.
    pub demo: bool,
    /// Most UDP viewers; 0 closes the transport to viewers.
    pub udp_viewers: usize,
    /// What all UDP viewers together are sent at most, in bits per second.
    pub udp_egress: u64,
    /// Whether only peers with a ticket are let in, which closes the UDP transport.
    pub private: bool,
    /// Stream id in the labels of frames that came without one.
    pub stream: StreamId,
}
