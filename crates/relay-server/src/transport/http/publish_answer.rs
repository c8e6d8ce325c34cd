//! What a publisher is answered: a status, and JSON with the cause and the cure. Pure.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use protocol::datagram::{DropReason, Foreign};
use protocol::http::{ErrorBody, refusal_name};
use protocol::jpeg::Defect;
use protocol::quic::Refusal;
use relay_core::FrameVerdict;

use super::origin_policy::Denial;
use super::publish::MAX_FRAME;

/// Returns an answer with an error's name and its sentence.
pub(super) fn error(
    status: StatusCode,
    name: impl Into<String>,
    message: impl std::fmt::Display,
) -> Response {
    let body = ErrorBody {
        error: name.into(),
        message: message.to_string(),
    };
    let body = serde_json::to_string(&body).expect("two strings are JSON");
    let json = [(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    )];
    (status, json, format!("{body}\n")).into_response()
}

/// Returns the answer to a publisher whose request the policy denies.
pub(super) fn denied(denial: Denial) -> Response {
    match denial {
        Denial::Token(why) => refused(why),
        // A cookie is enough for no publisher.
        Denial::Session => refused(Refusal::Private),
        Denial::Host => error(
            StatusCode::MISDIRECTED_REQUEST,
            "host",
            "this host name is not one of the relay's; if it is the right one, start the relay with --http-origin http://NAME",
        ),
        Denial::Origin => error(
            StatusCode::FORBIDDEN,
            "origin",
            "pages of another origin publish nothing here; relay-server --http-origin ORIGIN permits them",
        ),
    }
}

/// Returns the answer to a publisher that may not send as its camera.
pub(super) fn refused(refusal: Refusal) -> Response {
    let (status, message) = match refusal {
        Refusal::Private => (
            StatusCode::UNAUTHORIZED,
            "this relay is private: add the header Authorization: Bearer TOKEN, the token of a ticket that relay-server \
             ticket add send makes",
        ),
        Refusal::Token => (
            StatusCode::UNAUTHORIZED,
            "this token is not in force: it is of another relay, was revoked, or was renewed; relay-server ticket add send \
             makes a ticket",
        ),
        Refusal::Role => (
            StatusCode::FORBIDDEN,
            "this is a viewer's token; a publisher needs that of a ticket that relay-server ticket add send makes",
        ),
        Refusal::Camera => (
            StatusCode::FORBIDDEN,
            "this ticket is for another camera: publish at /cam/NAME with the name in the ticket",
        ),
        Refusal::Taken => (
            StatusCode::CONFLICT,
            "another source sends as this camera: choose another NAME in /cam/NAME, or stop the other one",
        ),
        Refusal::Full => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the relay takes no further camera: stop a sender that is not needed",
        ),
        Refusal::Hello => (
            StatusCode::BAD_REQUEST,
            "NAME in /cam/NAME is not a camera's name: 1 to 64 bytes of letters, digits, space, '-', '_' and '.'",
        ),
    };
    let mut answer = error(status, refusal_name(refusal), message);
    if status == StatusCode::UNAUTHORIZED {
        let bearer = HeaderValue::from_static("Bearer");
        answer
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, bearer);
    }
    answer
}

/// Returns the answer to a frame that is too large.
pub(super) fn too_large() -> Response {
    error(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too_large",
        too_large_message(),
    )
}

/// Returns what is wrong with a frame that is too large.
pub(super) fn too_large_message() -> String {
    format!("a frame has at most {MAX_FRAME} bytes: lower the JPEG's quality or size")
}

/// Returns the answer to a client that sends frames faster than the relay takes them.
pub(super) fn too_many() -> Response {
    let mut answer = error(
        StatusCode::TOO_MANY_REQUESTS,
        "too_many",
        "this connection sends more frames than the relay takes: 250 a second",
    );
    let second = HeaderValue::from_static("1");
    answer.headers_mut().insert(header::RETRY_AFTER, second);
    answer
}

/// Returns the answer to a frame that was not accepted; `body` is its beginning.
pub(super) fn of_verdict(verdict: FrameVerdict, body: &[u8]) -> Response {
    match verdict {
        FrameVerdict::Accepted => StatusCode::NO_CONTENT.into_response(),
        FrameVerdict::Refused(refusal) => refused(refusal),
        FrameVerdict::NotAFrame(reason) => {
            let status = match reason {
                DropReason::Jpeg(Defect::NotJpeg) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
                _ => StatusCode::UNPROCESSABLE_ENTITY,
            };
            error(status, reason.name(), not_a_frame(reason, body))
        }
        FrameVerdict::Dropped(reason) => error(StatusCode::CONFLICT, reason, dropped(reason)),
    }
}

/// Returns why a frame was dropped and what to do, for a message of the WebSocket; `None` for one that was accepted.
pub(super) fn explanation(verdict: FrameVerdict, body: &[u8]) -> Option<(String, String)> {
    Some(match verdict {
        FrameVerdict::Accepted => return None,
        FrameVerdict::NotAFrame(reason) => (reason.name().to_owned(), not_a_frame(reason, body)),
        FrameVerdict::Dropped(reason) => (reason.to_owned(), dropped(reason).to_owned()),
        FrameVerdict::Refused(refusal) => (refusal_name(refusal), refusal.to_string()),
    })
}

fn not_a_frame(reason: DropReason, body: &[u8]) -> String {
    let form = body.starts_with(b"--");
    match Foreign::of(body).filter(|foreign| *foreign != Foreign::Unknown) {
        Some(foreign) => format!("the body holds {}; send one whole JPEG", foreign.what()),
        None if form => {
            "the body is a form; send the JPEG itself, as curl --data-binary @FILE does".to_owned()
        }
        None => format!("the body is not a frame: {reason}; send one whole JPEG"),
    }
}

fn dropped(reason: &str) -> &'static str {
    match reason {
        "misnamed" => {
            "the frame's label names another camera than the path: send it to /cam/NAME of that camera"
        }
        "late" => "a newer frame came before this one, or this one came twice; send the newest",
        "absurd_number" => {
            "the frame's number lies further ahead than a camera can have counted: begin a new stream id"
        }
        _ => "the body is a control message of Sightline's UDP transport, and no frame",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_status() {
        for (refusal, status) in [
            (Refusal::Private, 401),
            (Refusal::Token, 401),
            (Refusal::Role, 403),
            (Refusal::Taken, 409),
            (Refusal::Full, 503),
            (Refusal::Hello, 400),
        ] {
            assert_eq!(refused(refusal).status().as_u16(), status, "{refusal:?}");
        }
    }

    #[test]
    fn what_is_not_a_jpeg_is_named_and_what_is_a_broken_one_says_how() {
        let not_jpeg = FrameVerdict::NotAFrame(DropReason::Jpeg(Defect::NotJpeg));
        assert_eq!(of_verdict(not_jpeg, b"x").status().as_u16(), 415);
        let cut = FrameVerdict::NotAFrame(DropReason::Jpeg(Defect::NoEnd));
        assert_eq!(of_verdict(cut, b"x").status().as_u16(), 422);
        let explain = |body: &[u8]| explanation(not_jpeg, body).unwrap().1;
        assert!(explain(b"\x89PNG\r\n\x1a\n").contains("not JPEGs"));
        assert!(explain(b"--boundary").contains("--data-binary"));
        assert_eq!(explanation(FrameVerdict::Accepted, b""), None);
    }
}
