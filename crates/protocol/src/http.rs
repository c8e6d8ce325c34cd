//! What programs of ours exchange by HTTP beyond what a browser would: names of headers, and the reason of a refusal.
//!
//! ```text
//!  GET /cam/NAME/publish, an upgrade to a WebSocket        -->
//!  authorization: Bearer TOKEN, sightline-stream, sightline-cookie
//!                                        <-- 101, sightline: 1, sightline-cookie
//!                                        or  an error's status, and JSON: {"error":"taken","message":".."}
//!  binary: a JPEG                        -->
//!                                        <-- binary, empty: taken, send the next one
//!                                        or  text: {"dropped":{"reason":"late","message":".."}}
//!  text: {"ping":{"t1":..}}, {"facts":{..}}   -->   as on the `quic` transport's control stream
//!                                        <-- text: {"pong":{"t1":..,"t2":..,"t3":..}}
//!                                        <-- close 1008, "taken: .." if the relay gives the camera to another sender
//! ```

use serde::{Deserialize, Serialize};

use crate::quic::Refusal;

/// TCP port of the relay's HTTP server.
pub const HTTP_PORT: u16 = 8080;
/// Header of each of a relay's answers; its value is `1`.
pub const SIGHTLINE: &str = "sightline";
/// Header with a sender's stream id, as in its hello by QUIC.
pub const STREAM: &str = "sightline-stream";
/// Header with the cookies that prove that a sender is the camera's of before, as in its hello and in the relay's answer.
pub const COOKIE: &str = "sightline-cookie";
/// Code of a close message of a peer that is refused (RFC 6455, section 7.4.1: policy violation).
pub const CLOSE_REFUSED: u16 = 1008;
/// Longest reason of a close message in bytes (RFC 6455, section 5.5).
pub const MAX_CLOSE_REASON: usize = 123;

/// The body of an answer that refuses a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// Name of the error: a [`Refusal`]'s, or another.
    pub error: String,
    /// Cause and cure in a sentence.
    pub message: String,
}

impl ErrorBody {
    /// Returns the refusal that the error is the name of.
    pub fn refusal(&self) -> Option<Refusal> {
        refusal_named(&self.error)
    }
}

/// Returns the name of a refusal, as QUIC's messages have it.
pub fn refusal_name(refusal: Refusal) -> String {
    let json = serde_json::to_value(refusal).ok();
    let name = json.and_then(|json| json.as_str().map(str::to_owned));
    name.expect("a variant without fields is a string")
}

/// Returns the refusal of this name.
pub fn refusal_named(name: &str) -> Option<Refusal> {
    serde_json::from_value(name.into()).ok()
}

/// Returns the reason of a close message: the refusal's name and its sentence, which is cut where the message ends.
pub fn close_reason(refusal: Refusal) -> String {
    let mut reason = format!("{}: {refusal}", refusal_name(refusal));
    reason.truncate(reason.floor_char_boundary(MAX_CLOSE_REASON));
    reason
}

/// Returns the refusal in the reason of a close message.
pub fn refusal_of_reason(reason: &str) -> Option<Refusal> {
    refusal_named(reason.split(':').next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_reason_names_its_refusal_and_fits_into_a_close_message() {
        for refusal in [
            Refusal::Private,
            Refusal::Token,
            Refusal::Role,
            Refusal::Taken,
            Refusal::Full,
            Refusal::Hello,
        ] {
            let reason = close_reason(refusal);
            assert!(reason.len() <= MAX_CLOSE_REASON, "{reason}");
            assert_eq!(refusal_of_reason(&reason), Some(refusal), "{reason}");
        }
        for other in ["", "x", "taken", "full stop", "\"taken\": x"] {
            let is_name = other == "taken";
            assert_eq!(refusal_of_reason(other).is_some(), is_name, "{other}");
        }
    }

    #[test]
    fn an_error_is_a_refusal_where_it_has_the_name_of_one() {
        let parse = |json: &str| serde_json::from_str::<ErrorBody>(json).unwrap();
        let taken = parse(r#"{"error":"taken","message":"m","later":1}"#);
        assert_eq!(taken.refusal(), Some(Refusal::Taken));
        let large = parse(r#"{"error":"too_large","message":"m"}"#);
        assert_eq!(large.refusal(), None);
    }
}
