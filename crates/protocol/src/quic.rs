//! Messages of the `quic` transport: lines of JSON on the first bidirectional stream, frames and detections on streams
//! of their own.
//!
//! ```text
//!  sender or viewer                                   relay
//!      {"role":"view","camera":"yard","token":".."} -->           hello: the first line, within its first 5 s
//!                                              <-- {"ok":true,"cameras":["yard"]}
//!                                              or  {"ok":false,"refusal":"token", ..} and the end
//!      {"ping":{"t1":..}}                          -->            every few seconds: compares the clocks
//!                                              <-- {"pong":{"t1":..,"t2":..,"t3":..}}
//!      {"facts":{"offset_us":..,"error_us":..}}    -->            a sender: its clock offset, JPEG quality and health
//!                                              <-- {"frame_too_large":true}      the relay dropped a frame of this sender
//!                                              <-- {"rendition_of":[1920,1080]}   to a viewer: smaller frames follow, or null
//!                                              <-- {"camera":{"name":"yard","offset_us":..}}   to a viewer: the camera
//!                                              <-- {"cameras":["yard"]}   whose frames follow, and those that are live
//!
//!  each frame: a unidirectional stream that starts FF D8 FF
//!  detections: one unidirectional stream of JSON lines, so it starts with {
//! ```
//!
//! Times are microseconds since the Unix epoch. Lines are at most [`MAX_LINE`] bytes long, their end included; unknown
//! keys are left for later versions, unknown messages are skipped.

use serde::{Deserialize, Serialize};

use crate::datagram::Foreign;
use crate::health::Health;
use crate::label::{self, CameraName, StreamId};
use crate::peer::Proof;
use crate::text::printable;

/// Application protocol in the TLS handshake.
pub const ALPN: &[u8] = b"sightline/1";
/// Length of the longest line of the first stream, in bytes.
pub const MAX_LINE: usize = 8192;
/// Largest number of names in one line, and of cameras at the relay.
pub const MAX_CAMERAS: usize = 64;

/// A peer's role at the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sends a camera's frames.
    Send,
    /// Views a camera.
    View,
}

impl Role {
    /// Returns the role as the log shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Send => "sender",
            Self::View => "viewer",
        }
    }
}

/// A peer's first line.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Role of the peer.
    pub role: Role,
    /// Name of the camera to send or to view; a viewer without one views the first that is live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub camera: Option<String>,
    /// A ticket's token, 64 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// A sender's stream id as in its labels, 16 hexadecimal digits: its frame numbers go on by another connection or
    /// transport.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// A sender's proof that it is the camera's sender of before: the cookie of the relay's `accept` to its frames by the
    /// `udp` transport, and those of the relay's answer to its hello of an earlier connection; 16 hexadecimal digits each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
    /// A sender's question whether it would be let in by this transport: the relay answers, and reserves nothing for it. One
    /// of version 0.1 does not know this, and lets the sender in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<Trial>,
    /// Whether a viewer takes frames as they came alone, and no renditions. A relay of version 0.1 has none.
    #[serde(default, skip_serializing_if = "is_false")]
    pub original: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// The transport of a sender that only asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trial {
    /// One JPEG a datagram.
    Udp,
    /// QUIC.
    Quic,
}

/// Why the relay refuses a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "lowercase")]
pub enum Refusal {
    /// The relay is private, and the hello had no token.
    #[error(
        "this relay is private: start with a ticket, --server 'sightline://..'; on the relay's machine, relay-server ticket \
         add makes one"
    )]
    Private,
    /// An unknown token, or one that is not in force any more.
    #[error(
        "the ticket is not in force: it is of another relay, was revoked, or was renewed by --rotate; on the relay's machine, \
         relay-server ticket add makes another"
    )]
    Token,
    /// A token of the other role.
    #[error(
        "this ticket is for the other role: pi-sender needs one of relay-server ticket add send, and viewer one of \
         relay-server ticket add view"
    )]
    Role,
    /// A token of one camera, for another camera.
    #[error(
        "this ticket is for another camera: leave out --camera, so that the name in the ticket counts"
    )]
    Camera,
    /// A camera's name that another source holds.
    #[error(
        "another source sends as this camera: choose another name with --camera, or stop the other one"
    )]
    Taken,
    /// Too many connections or cameras.
    #[error(
        "the relay takes no further camera or connection: stop a sender or a viewer that is not needed"
    )]
    Full,
    /// A first line that could not be parsed, or a refusal that this version does not know.
    #[error("the relay cannot read this program's hello: update the older of the two")]
    #[serde(other)]
    Hello,
}

impl Refusal {
    /// Returns whether a later attempt may succeed with nothing changed at this end.
    pub fn is_temporary(self) -> bool {
        matches!(self, Self::Taken | Self::Full)
    }
}

/// The relay's first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Whether the relay accepts the peer.
    pub ok: bool,
    /// Reason of a refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
    /// Names of the cameras that are live.
    #[serde(default)]
    pub cameras: Vec<String>,
    /// To a sender: proves on a later connection that it is this camera's sender, by a cookie of this sender alone and
    /// another that outlives a restart of the relay; 16 hexadecimal digits each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
}

/// The request of a clock exchange as in NTP (RFC 5905, section 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ping {
    /// Time at which it was sent, by its sender's clock.
    pub t1: u64,
}

/// The relay's answer to a [`Ping`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pong {
    /// `t1` of the ping.
    pub t1: u64,
    /// Time at which the ping came, by the relay's clock.
    pub t2: u64,
    /// Time at which the answer left, by the relay's clock.
    pub t3: u64,
}

/// A sender's clock, encoder and machine, which its labels do not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SenderInfo {
    /// Relay's clock less the sender's, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset_us: Option<i64>,
    /// Bound of the error of `offset_us`, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_us: Option<u64>,
    /// JPEG quality in force; absent if a camera's own JPEGs are passed through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<u8>,
    /// State of the sender's machine.
    #[serde(default, skip_serializing_if = "Health::is_empty")]
    pub health: Health,
}

/// A camera's name and its sender's information.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CameraInfo {
    /// Name of the camera whose frames follow.
    pub name: String,
    /// Information of its sender.
    #[serde(flatten)]
    pub sender: SenderInfo,
}

/// A message of a peer to the relay, after the hello.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientMessage {
    /// The request of a clock exchange.
    Ping(Ping),
    /// A sender's information.
    #[serde(rename = "facts")]
    SenderInfo(SenderInfo),
}

/// A message of the relay to a peer, after the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerMessage {
    /// The answer of a clock exchange.
    Pong(Pong),
    /// The camera whose frames follow.
    Camera(CameraInfo),
    /// Names of the cameras that are live now.
    Cameras(Vec<String>),
    /// What other software sends to the relay in place of JPEGs now; absent at a relay of version 0.1.
    Foreign(Option<Foreign>),
    /// Width and height of the frames as they came, while this viewer is sent smaller renditions of them, else null; absent
    /// at a relay of version 0.1.
    #[serde(rename = "rendition_of")]
    RenditionOf(Option<[u16; 2]>),
    /// Whether a frame of this sender was dropped because it is larger than the relay takes of each of its senders now;
    /// absent at a relay of version 0.1.
    #[serde(rename = "frame_too_large")]
    FrameTooLarge(bool),
}

impl Hello {
    /// Parses the camera's name, if there is one.
    ///
    /// # Errors
    /// [`Refusal::Hello`] if it is not a valid name.
    pub fn camera(&self) -> Result<Option<CameraName>, Refusal> {
        let parsed = self.camera.as_deref().map(str::parse).transpose();
        parsed.map_err(|_| Refusal::Hello)
    }

    /// Parses the stream id, if there is a valid one.
    pub fn stream(&self) -> Option<StreamId> {
        let digits = self.stream.as_deref()?;
        label::hex(digits.as_bytes()).map(StreamId)
    }

    /// Returns the cookies, none if they are not valid.
    pub fn proof(&self) -> Proof {
        let proof = self.cookie.as_deref().and_then(Proof::parse);
        proof.unwrap_or_default()
    }
}

impl Answer {
    /// Returns the cookies, none if they are not valid.
    pub fn proof(&self) -> Proof {
        let proof = self.cookie.as_deref().and_then(Proof::parse);
        proof.unwrap_or_default()
    }
}

/// Hides the token, which is a secret.
impl std::fmt::Debug for Hello {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hello")
            .field("role", &self.role)
            .field("camera", &self.camera.as_deref().map(shown))
            .field("token", &self.token.as_ref().map(|_| ".."))
            .finish_non_exhaustive()
    }
}

/// Returns a name of a hello for the log: a valid one whole.
fn shown(name: &str) -> String {
    printable(name, CameraName::MAX)
}

/// Returns a message as a line, its end included.
pub fn to_line<T: Serialize>(message: &T) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).expect("plain structures of text and numbers");
    line.push(b'\n');
    line
}

/// Parses a line; returns `None` if it is not such a message.
pub fn from_line<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Option<T> {
    serde_json::from_slice(line.get(..line.len().min(MAX_LINE))?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hello_is_the_contracts() {
        let line = br#"{"role":"view","camera":"yard","token":"00"}"#;
        let hello: Hello = from_line(line).unwrap();
        assert_eq!(
            (hello.role, hello.camera.as_deref()),
            (Role::View, Some("yard"))
        );
        assert_eq!(to_line(&hello), [line.as_slice(), b"\n"].concat());
        assert_eq!(
            from_line::<Hello>(br#"{"role":"send"}"#).map(|h| h.role),
            Some(Role::Send)
        );
    }

    #[test]
    fn what_is_written_is_read() {
        for message in [
            ClientMessage::Ping(Ping { t1: 1 }),
            ClientMessage::SenderInfo(SenderInfo {
                offset_us: Some(-5),
                error_us: Some(9),
                quality: None,
                health: Health {
                    throttled: Some(true),
                    ..Health::default()
                },
            }),
        ] {
            assert_eq!(from_line(&to_line(&message)), Some(message));
        }
        let camera = CameraInfo {
            name: "yard".into(),
            sender: SenderInfo {
                quality: Some(70),
                ..SenderInfo::default()
            },
        };
        for message in [
            ServerMessage::Pong(Pong {
                t1: 1,
                t2: 2,
                t3: 3,
            }),
            ServerMessage::Camera(camera),
            ServerMessage::Cameras(vec!["yard".into()]),
            ServerMessage::Foreign(Some(Foreign::MpegTs)),
            ServerMessage::Foreign(None),
            ServerMessage::FrameTooLarge(true),
            ServerMessage::RenditionOf(Some([1920, 1080])),
            ServerMessage::RenditionOf(None),
        ] {
            assert_eq!(from_line(&to_line(&message)), Some(message));
        }
    }

    #[test]
    fn a_bad_sensor_hides_neither_the_clock_nor_the_quality() {
        let line =
            br#"{"facts":{"offset_us":5,"quality":80,"health":{"temperature_c":1e9,"later":[1]}}}"#;
        let info = SenderInfo {
            offset_us: Some(5),
            quality: Some(80),
            ..SenderInfo::default()
        };
        assert_eq!(from_line(line), Some(ClientMessage::SenderInfo(info)));
    }

    #[test]
    fn the_longest_line_holds_all_cameras_with_the_longest_names() {
        let cameras = vec!["x".repeat(CameraName::MAX); MAX_CAMERAS];
        assert!(to_line(&ServerMessage::Cameras(cameras)).len() <= MAX_LINE);
    }

    #[test]
    fn a_later_versions_words_are_none_of_these_and_its_keys_do_no_harm() {
        assert_eq!(from_line::<ClientMessage>(br#"{"dance":1}"#), None);
        let hello = from_line::<Hello>(br#"{"role":"view","wings":2}"#);
        assert!(hello.is_some());
        assert_eq!(from_line::<Hello>(br#"{"role":"fly"}"#), None);
    }

    #[test]
    fn a_refusal_of_a_later_version_is_still_a_refusal() {
        let refusal = |line: &[u8]| from_line::<Answer>(line).and_then(|answer| answer.refusal);
        let later = refusal(br#"{"ok":false,"refusal":"weather"}"#);
        assert_eq!(later, Some(Refusal::Hello));
        let camera = refusal(br#"{"ok":false,"refusal":"camera"}"#);
        assert_eq!(camera, Some(Refusal::Camera));
    }

    #[test]
    fn a_name_that_is_no_cameras_is_refused() {
        let hello = from_line::<Hello>(br#"{"role":"send","camera":"a/b"}"#).unwrap();
        assert_eq!(hello.camera(), Err(Refusal::Hello));
    }

    #[test]
    fn a_debug_print_shows_no_token() {
        let hello = from_line::<Hello>(br#"{"role":"send","token":"secret"}"#).unwrap();
        assert!(!format!("{hello:?}").contains("secret"));
    }

    #[test]
    fn a_debug_print_of_a_hostile_name_is_short() {
        let camera = "x\x1b".repeat(1000);
        let line = serde_json::json!({"role": "view", "camera": camera}).to_string();
        let hello = from_line::<Hello>(line.as_bytes()).unwrap();
        let shown = format!("{hello:?}");
        assert!(shown.len() < 200 && !shown.contains('\x1b'), "{shown}");
    }
}
