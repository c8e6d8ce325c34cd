//! Control messages of the `udp` transport: tiny, valid colour JPEGs with a label of another kind.
//!
//! A tutorial relay takes every datagram for a JPEG, forwards it and decodes some, and a tutorial viewer decodes all it
//! gets; both crash on anything else. So a message between Sightline's programs is a picture of one pixel that OpenCV
//! and Pillow decode (three components, since the tutorial's relay converts RGB to BGR).
//!
//! `hello` and `probe` are padded, so that the answer is never larger than the request and the relay amplifies nothing for
//! a spoofed address. A peer of version 0.1 fills the padding with dots; a later one writes the relay's [`Cookie`] there, or
//! zeros before it has one, and only such a peer is sent a cookie.

use crate::jpeg::{EOI, SOI};
use crate::label::{self, hex};
use crate::peer::Cookie;
use crate::quic::Refusal;

/// A message of the `udp` transport other than frames and `Request`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Viewer to relay: requests a lease, or renews it.
    Hello(Question),
    /// Viewer or sender to relay: requests an answer alone; with the right cookie it ends a viewer's lease.
    Probe(Question),
    /// Relay to viewer or sender: answers a hello or a probe.
    Accept {
        /// Nonce of the hello or the probe.
        nonce: u64,
        /// Whether frames will come.
        verdict: LeaseVerdict,
        /// The proof of the receiver's address, for a peer that returns it; `None` for one of version 0.1.
        cookie: Option<Cookie>,
    },
    /// Relay to a sender of ours: offers the `quic` transport.
    Upgrade,
    /// Relay to a sender: its frames are dropped, and why.
    Refused(Refusal),
}

/// What a hello or a probe holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// Random number of this run of the program. A tutorial relay echoes the message, and so shows what it is.
    pub nonce: u64,
    /// The cookie of the relay's last answer; zero before the first. `None` at a peer of version 0.1, which knows none.
    pub cookie: Option<Cookie>,
}

impl Question {
    /// Returns the question of a program that has this cookie, or none yet.
    pub fn new(nonce: u64, cookie: Option<Cookie>) -> Self {
        let cookie = Some(cookie.unwrap_or(Cookie(0)));
        Self { nonce, cookie }
    }
}

/// The relay's answer to a viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseVerdict {
    /// A lease, or for a probe the prospect of one.
    Welcome,
    /// No lease: all are taken.
    Full,
    /// No lease: the relay takes no UDP viewers. A peer of version 0.1 cannot read this, and is sent [`Full`](Self::Full).
    Closed,
    /// No lease: the relay is private, and a ticket and the `quic` transport are needed.
    Private,
}

/// Bytes of padding in a hello and a probe, the cookie included.
const PADDING: usize = 64;
/// Digits of a nonce and of a cookie.
const DIGITS: usize = 16;

/// Why a control message cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a control message of an unknown kind or form")]
pub struct BadControl;

impl Control {
    /// Returns the datagram, a whole JPEG of about 200 bytes.
    pub fn write(self) -> Vec<u8> {
        let (kind, body) = match self {
            Self::Hello(question) => (b'H', question.write()),
            Self::Probe(question) => (b'P', question.write()),
            Self::Accept {
                nonce,
                verdict,
                cookie,
            } => {
                let cookie = cookie.map_or_else(String::new, |cookie| cookie.to_string());
                (b'A', format!("{nonce:016x}{}{cookie}", verdict.letter()))
            }
            Self::Upgrade => (b'U', String::new()),
            Self::Refused(refusal) => (b'R', refusal_letter(refusal).to_string()),
        };
        let mut out = SOI.to_vec();
        label::push_segment(&mut out, kind, body.as_bytes());
        out.extend_from_slice(&ONE_PIXEL);
        out
    }

    /// Parses the kind and the body of a label segment that is not a frame's.
    pub(crate) fn parse(kind: u8, body: &[u8]) -> Result<Self, BadControl> {
        let control = match kind {
            b'H' => Question::parse(body).map(Self::Hello),
            b'P' => Question::parse(body).map(Self::Probe),
            b'A' => Self::parse_accept(body),
            b'U' => body.is_empty().then_some(Self::Upgrade),
            b'R' => {
                let mut known = REFUSALS.into_iter();
                let found = known.find(|(_, letter)| body == letter.to_string().as_bytes());
                found.map(|(refusal, _)| Self::Refused(refusal))
            }
            _ => None,
        };
        control.ok_or(BadControl)
    }

    fn parse_accept(body: &[u8]) -> Option<Self> {
        let (nonce, rest) = body.split_at_checked(DIGITS)?;
        let (letter, cookie) = rest.split_first()?;
        Some(Self::Accept {
            nonce: hex(nonce)?,
            verdict: LeaseVerdict::from_letter(*letter)?,
            cookie: match cookie {
                [] => None,
                digits => Some(Cookie::parse(digits)?),
            },
        })
    }
}

impl Question {
    fn write(self) -> String {
        let cookie = self.cookie.map(|cookie| cookie.to_string());
        let padded = format!("{:.<PADDING$}", cookie.unwrap_or_default());
        format!("{:016x}{padded}", self.nonce)
    }

    fn parse(body: &[u8]) -> Option<Self> {
        let (nonce, padding) = body.split_at_checked(DIGITS)?;
        let whole = padding.len() == PADDING;
        Some(Self {
            nonce: hex(nonce).filter(|_| whole)?,
            cookie: Cookie::parse(&padding[..DIGITS]),
        })
    }
}

/// All refusals, each with its letter.
const REFUSALS: [(Refusal, char); 7] = [
    (Refusal::Private, 'p'),
    (Refusal::Token, 'k'),
    (Refusal::Role, 'r'),
    (Refusal::Camera, 'c'),
    (Refusal::Taken, 't'),
    (Refusal::Full, 'f'),
    (Refusal::Hello, 'h'),
];

fn refusal_letter(refusal: Refusal) -> char {
    let mut known = REFUSALS.into_iter();
    let found = known.find(|(known, _)| *known == refusal);
    found.map_or('?', |(_, letter)| letter)
}

impl LeaseVerdict {
    fn letter(self) -> char {
        match self {
            Self::Welcome => 'w',
            Self::Full => 'f',
            Self::Closed => 'c',
            Self::Private => 'p',
        }
    }

    fn from_letter(letter: u8) -> Option<Self> {
        [Self::Welcome, Self::Full, Self::Closed, Self::Private]
            .into_iter()
            .find(|verdict| verdict.letter() == char::from(letter))
    }
}

/// A grey pixel as a baseline JPEG with three components, from behind SOI to EOI (ITU-T T.81 annex B): one quantisation
/// table of ones, and one Huffman table of each class with a single code of one bit (DC difference 0, end of block).
const ONE_PIXEL: [u8; 145] = {
    let mut jpeg = [0; 145];
    let mut at = 0;
    macro_rules! put {
        ($($byte:expr),*) => { $( jpeg[at] = $byte; at += 1; )* };
    }
    put!(0xFF, 0xDB, 0, 67, 0); // DQT, table 0
    let mut i = 0;
    while i < 64 {
        put!(1);
        i += 1;
    }
    put!(0xFF, 0xC0, 0, 17, 8, 0, 1, 0, 1, 3); // SOF0: 8 bit, 1x1, 3 components
    put!(1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0); // each without subsampling, quantised by table 0
    put!(0xFF, 0xC4, 0, 38); // DHT, two tables: class and number, codes per length, values
    put!(0x00, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    put!(0x10, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    put!(0xFF, 0xDA, 0, 12, 3, 1, 0, 2, 0, 3, 0, 0, 63, 0); // SOS
    put!(0b0000_0011, EOI[0], EOI[1]); // three times DC 0 and end of block, padded with ones
    assert!(at == jpeg.len());
    jpeg
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datagram::{Datagram, classify};

    const OLD: Question = Question {
        nonce: 7,
        cookie: None,
    };
    const ALL: [Control; 10] = [
        Control::Hello(OLD),
        Control::Hello(Question {
            nonce: 7,
            cookie: Some(Cookie(9)),
        }),
        Control::Probe(OLD),
        Control::Accept {
            nonce: 1,
            verdict: LeaseVerdict::Private,
            cookie: Some(Cookie(u64::MAX)),
        },
        Control::Accept {
            nonce: u64::MAX,
            verdict: LeaseVerdict::Welcome,
            cookie: None,
        },
        Control::Accept {
            nonce: 0,
            verdict: LeaseVerdict::Full,
            cookie: Some(Cookie(0)),
        },
        Control::Accept {
            nonce: 1,
            verdict: LeaseVerdict::Closed,
            cookie: Some(Cookie(1)),
        },
        Control::Upgrade,
        Control::Refused(Refusal::Taken),
        Control::Refused(Refusal::Full),
    ];

    /// A hello and an answer as version 0.1 writes and reads them.
    #[test]
    fn a_peer_of_version_0_1_is_understood_and_answered_in_its_own_form() {
        let body = |control: Control| {
            let bytes = control.write();
            let end = bytes.len() - ONE_PIXEL.len();
            String::from_utf8(bytes[2 + 4 + 12..end].to_vec()).unwrap()
        };
        let hello = body(Control::Hello(OLD));
        assert_eq!(hello, format!("{:016x}{}", 7, ".".repeat(64)));
        let accept = Control::Accept {
            nonce: 7,
            verdict: LeaseVerdict::Welcome,
            cookie: None,
        };
        assert_eq!(body(accept), "0000000000000007w");
        assert_eq!(body(Control::Upgrade), "");
    }

    #[test]
    fn what_is_written_is_read() {
        for control in ALL {
            let Ok(Datagram::Control(read)) = classify(control.write()) else {
                panic!("{control:?} is not read as a control message");
            };
            assert_eq!(read, control);
        }
    }

    #[test]
    fn a_control_message_is_a_jpeg_that_passes_the_scan() {
        for control in ALL {
            let header = crate::jpeg::scan(&control.write(), crate::jpeg::Limits::default());
            assert_eq!(header.map(|h| (h.width, h.height)), Ok((1, 1)));
        }
    }

    #[test]
    fn an_answer_is_never_larger_than_its_hello() {
        let hello = Control::Hello(OLD).write().len();
        for answer in ALL {
            assert!(answer.write().len() <= hello);
        }
    }

    #[test]
    fn a_torn_control_message_is_neither_control_nor_frame() {
        let mut hello = Control::Hello(OLD).write();
        hello[6 + 12] = b'x';
        assert!(classify(hello).is_err());
    }
}
