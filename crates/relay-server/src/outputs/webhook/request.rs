//! What a webhook posts, and what becomes of it by the receiver's answer. Pure.

use std::time::Duration;

use protocol::event::EventMessage;
use ring::hmac;

use super::template::Template;
use crate::outputs::hex;
use crate::outputs::picture_url::PictureUrls;

/// Makes requests of events.
#[derive(Debug)]
pub struct Requests {
    /// Where the pictures are.
    pub urls: PictureUrls,
    /// Signs the bodies.
    pub secret: Option<Secret>,
    /// The body that the receiver wants, if not the event message.
    pub template: Option<Template>,
}

/// The secret of `--webhook-secret-file`.
#[derive(Debug)]
pub struct Secret(hmac::Key);

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookRequest {
    /// The body.
    pub body: String,
    /// Its type.
    pub content_type: &'static str,
    /// Value of `X-Sightline-Event`: the type of the message.
    pub kind: &'static str,
    /// Value of `X-Sightline-Signature`.
    pub signature: Option<String>,
}

/// What becomes of a request by its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has it.
    Delivered,
    /// A further attempt may succeed, after this time if the receiver named one.
    Retry(Option<Duration>),
    /// A further attempt would fail too; the cure.
    Refused(&'static str),
}

impl Secret {
    /// Returns the secret of these bytes.
    pub fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }
}

impl Requests {
    /// Returns the request of a message, at so many seconds since the Unix epoch; `None` if the template does not send such.
    pub fn make(&self, message: &EventMessage, unix_s: u64) -> Option<HookRequest> {
        let message = with_urls(message.clone(), &self.urls, unix_s);
        let (body, content_type) = match &self.template {
            None => (message.to_json(), "application/json"),
            Some(template) if template.takes(&message) => {
                (template.fill(&message), template.content_type())
            }
            Some(_) => return None,
        };
        let signature = self.secret.as_ref().map(|Secret(key)| {
            let tag = hmac::sign(key, body.as_bytes());
            format!("sha256={}", hex::encode(tag.as_ref()))
        });
        Some(HookRequest {
            kind: message.kind(),
            body,
            content_type,
            signature,
        })
    }
}

/// Returns the message with the URLs of picture and clip as a receiver reaches them.
pub fn with_urls(mut message: EventMessage, urls: &PictureUrls, unix_s: u64) -> EventMessage {
    if let EventMessage::Object(event) = &mut message {
        event.snapshot = urls.url(&event.snapshot, unix_s);
        event.clip = event.clip.as_deref().map(|clip| urls.url(clip, unix_s));
    }
    message
}

/// Judges the status of an answer; `retry_after` is the header of that name.
pub fn judge(status: u16, retry_after: Option<&str>) -> Outcome {
    let required = || retry_after?.trim().parse().ok().map(Duration::from_secs);
    match status {
        200..=299 => Outcome::Delivered,
        408 | 425 | 429 | 500..=599 => Outcome::Retry(required()),
        300..=399 => Outcome::Refused("it redirects: give --webhook the address that it leads to"),
        401 | 403 => Outcome::Refused(
            "check the token in the URL of --webhook, and the secret on both sides",
        ),
        404 | 410 => {
            Outcome::Refused("the address does not exist there: check the path of --webhook")
        }
        413 => Outcome::Refused("the body is too large for it"),
        _ => Outcome::Refused("it does not take this body: check --webhook-template"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outputs::fields::tests::{offline, start};
    use crate::outputs::picture_url::PictureSigner;

    const NOW: u64 = 1_763_820_000;
    const PICTURE: &str = "https://cam.example/events/1763820000.123-a1b2/snapshot.jpg";

    fn requests(secret: Option<&[u8]>, template: Option<&str>) -> Requests {
        Requests {
            urls: PictureUrls::new(Some("https://cam.example"), None),
            secret: secret.map(Secret::new),
            template: template.map(|text| Template::parse(text).unwrap()),
        }
    }

    fn make(requests: &Requests) -> HookRequest {
        requests.make(&start("yard", "person"), NOW).unwrap()
    }

    #[test]
    fn the_body_is_the_message_with_an_absolute_url() {
        let request = make(&requests(None, None));
        let body = EventMessage::parse(request.body.as_bytes()).unwrap();
        let EventMessage::Object(event) = body else {
            panic!("an object: {}", request.body);
        };
        assert_eq!(event.snapshot, PICTURE);
        let headers = (request.content_type, request.kind, request.signature);
        assert_eq!(headers, ("application/json", "start", None));
    }

    #[test]
    fn the_picture_of_a_private_relay_has_a_signed_url() {
        let requests = Requests {
            urls: PictureUrls::new(Some("https://cam.example"), Some(PictureSigner::new(b"k"))),
            ..requests(None, None)
        };
        let body = make(&requests).body;
        assert!(body.contains("snapshot.jpg?expires="), "{body}");
    }

    /// The tag is RFC 2104's HMAC of this text as published with many implementations.
    #[test]
    fn the_signature_is_an_hmac_of_the_body() {
        let text = "The quick brown fox jumps over the lazy dog";
        let request = make(&requests(Some(b"key"), Some(text)));
        let wanted = "sha256=f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8";
        assert_eq!(request.signature.as_deref(), Some(wanted));
    }

    #[test]
    fn a_template_makes_the_body_and_chooses_the_messages() {
        let requests = requests(None, Some("{{only start}}\n{{label}} {{snapshot}}"));
        assert_eq!(make(&requests).body, format!("person {PICTURE}"));
        assert_eq!(requests.make(&offline("yard"), NOW), None);
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for status in [200, 204, 299] {
            assert_eq!(judge(status, None), Outcome::Delivered);
        }
        for status in [408, 429, 500, 503] {
            assert_eq!(judge(status, None), Outcome::Retry(None), "{status}");
        }
        let seven = Outcome::Retry(Some(Duration::from_secs(7)));
        assert_eq!(judge(429, Some("7")), seven);
        assert_eq!(judge(503, Some("Wed, 21 Oct")), Outcome::Retry(None));
        for status in [301, 400, 401, 404, 410, 413, 422] {
            let outcome = judge(status, None);
            assert!(matches!(outcome, Outcome::Refused(_)), "{status}");
        }
    }
}
