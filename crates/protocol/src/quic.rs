//! What is said on the native door: lines of JSON on the first bidirectional stream, frames and detections on streams of
//! their own.
//!
//! ```text
//!  sender or viewer                                   relay
//!      {"role":"view","camera":"yard","token":".."} -->           hello: the first line, within its first 5 s
//!                                              <-- {"ok":true,"cameras":["yard"]}
//!                                              or  {"ok":false,"refusal":"token", ..} and the end
//!      {"ping":{"t1":..}}                          -->            every few seconds: whose clock says what
//!                                              <-- {"pong":{"t1":..,"t2":..,"t3":..}}
//!      {"facts":{"offset_us":..,"error_us":..}}    -->            a sender: its clock, and how it encodes
//!                                              <-- {"camera":{"name":"yard","offset_us":..}}   to a viewer: whose
//!                                              <-- {"cameras":["yard"]}   frames these are, and which there are now
//!
//!  each frame: a unidirectional stream that starts FF D8 FF
//!  detections: one unidirectional stream of JSON lines, so it starts with {
//! ```
//!
//! Times are microseconds since the Unix epoch. Lines are at most [`MAX_LINE`] bytes long, their end included; unknown
//! keys are left for later versions, unknown words are skipped.

use serde::{Deserialize, Serialize};

use crate::label::CameraName;

/// The application protocol in the TLS handshake.
pub const ALPN: &[u8] = b"sightline/1";
/// Longest line of the first stream, in bytes.
pub const MAX_LINE: usize = 8192;
/// Most names in one line: the relay knows no more cameras.
pub const MAX_CAMERAS: usize = 64;

/// What a peer wants at the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// To send a camera's frames.
    Send,
    /// To view.
    View,
}

/// A peer's first line.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// What it wants.
    pub role: Role,
    /// The camera that it is, or wants to see; a viewer without one sees the first that is live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub camera: Option<String>,
    /// Its right to it: 64 hexadecimal digits of a ticket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// A sender's stream id as in its labels, 16 hexadecimal digits: so that one that comes over from the plain door is
    /// known to be the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
}

/// Why the relay lets somebody not in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "lowercase")]
pub enum Refusal {
    /// The relay is private and there was no token.
    #[error(
        "this relay is private: start with the ticket that its log shows, --server 'sightline://..'"
    )]
    Private,
    /// The token is nobody's.
    #[error(
        "the ticket's token is wrong: it is of another relay, or was renewed by --rotate; the relay's log shows the ticket in force"
    )]
    Token,
    /// The token is of the other role.
    #[error(
        "this ticket is for the other role: the relay's log shows one for pi-sender and one for viewer"
    )]
    Role,
    /// Another source sends under this name.
    #[error(
        "another source sends as this camera: choose another name with --camera, or stop the other one"
    )]
    Taken,
    /// Too many connections, in all or from one address.
    #[error("the relay has no free place at its native door")]
    Full,
    /// The first line could not be understood.
    #[error("the relay does not understand this program: one of the two is of another version")]
    Hello,
}

impl Refusal {
    /// Whether asking again can help without anybody's doing something here.
    pub fn is_temporary(self) -> bool {
        matches!(self, Self::Taken | Self::Full)
    }
}

/// The relay's first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Whether the peer is let in.
    pub ok: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
    /// The cameras that are live.
    #[serde(default)]
    pub cameras: Vec<String>,
}

/// One of NTP's exchanges (RFC 5905, section 8), as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ping {
    /// When it was asked, by the asker's clock.
    pub t1: u64,
}

/// The relay's answer to a [`Ping`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pong {
    /// The ping's.
    pub t1: u64,
    /// When the question came, by the relay's clock.
    pub t2: u64,
    /// When the answer left, by the relay's clock.
    pub t3: u64,
}

/// What a sender knows of itself and its frames do not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SenderInfo {
    /// The relay's clock less the sender's, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset_us: Option<i64>,
    /// The most by which that is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_us: Option<u64>,
    /// The JPEG quality in force; absent where a camera's own JPEGs are passed through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<u8>,
}

/// A camera's name with its sender's facts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CameraInfo {
    /// The camera whose frames follow.
    pub name: String,
    /// What its sender says.
    #[serde(flatten)]
    pub sender: SenderInfo,
}

/// What follows the hello, peer to relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientMessage {
    /// What does your clock say?
    Ping(Ping),
    /// A sender's facts.
    #[serde(rename = "facts")]
    SenderInfo(SenderInfo),
}

/// What follows the answer, relay to peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerMessage {
    /// What the clock says.
    Pong(Pong),
    /// Whose frames follow.
    Camera(CameraInfo),
    /// The cameras that are live now.
    Cameras(Vec<String>),
}

impl Hello {
    /// The camera's name, where it is one.
    ///
    /// # Errors
    /// [`Refusal::Hello`] where it could be no camera's.
    pub fn camera(&self) -> Result<Option<CameraName>, Refusal> {
        let parsed = self.camera.as_deref().map(str::parse).transpose();
        parsed.map_err(|_| Refusal::Hello)
    }
}

/// A token is a secret.
impl std::fmt::Debug for Hello {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hello")
            .field("role", &self.role)
            .field("camera", &self.camera)
            .field("token", &self.token.as_ref().map(|_| ".."))
            .finish_non_exhaustive()
    }
}

/// A line, its end included.
pub fn to_line<T: Serialize>(words: &T) -> Vec<u8> {
    let mut line = serde_json::to_vec(words).expect("plain structures of text and numbers");
    line.push(b'\n');
    line
}

/// Reads a line; `None` where it is none of these words.
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
        for said in [
            ClientMessage::Ping(Ping { t1: 1 }),
            ClientMessage::SenderInfo(SenderInfo {
                offset_us: Some(-5),
                error_us: Some(9),
                quality: None,
            }),
        ] {
            assert_eq!(from_line(&to_line(&said)), Some(said));
        }
        let camera = CameraInfo {
            name: "yard".into(),
            sender: SenderInfo {
                quality: Some(70),
                ..SenderInfo::default()
            },
        };
        for told in [
            ServerMessage::Pong(Pong {
                t1: 1,
                t2: 2,
                t3: 3,
            }),
            ServerMessage::Camera(camera),
            ServerMessage::Cameras(vec!["yard".into()]),
        ] {
            assert_eq!(from_line(&to_line(&told)), Some(told));
        }
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
    fn a_name_that_is_no_cameras_is_refused() {
        let hello = from_line::<Hello>(br#"{"role":"send","camera":"a/b"}"#).unwrap();
        assert_eq!(hello.camera(), Err(Refusal::Hello));
    }

    #[test]
    fn a_debug_print_shows_no_token() {
        let hello = from_line::<Hello>(br#"{"role":"send","token":"secret"}"#).unwrap();
        assert!(!format!("{hello:?}").contains("secret"));
    }
}
