//! Control messages of the `udp` transport: tiny, valid colour JPEGs with a label of another kind.
//!
//! A tutorial relay takes every datagram for a JPEG, forwards it and decodes some, and a tutorial viewer decodes all it
//! gets; both crash on anything else. So a message between Sightline's programs is a picture of one pixel that OpenCV
//! and Pillow decode (three components, since the tutorial's relay converts RGB to BGR).
//!
//! `hello` and `probe` (viewer to relay) are padded, so that the answer is never larger than the request and the relay
//! amplifies nothing for a spoofed address.

use crate::jpeg::{EOI, SOI};
use crate::label::{self, hex};

/// A message of the `udp` transport other than frames and `Request`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Viewer to relay: requests a lease, or renews it.
    Hello {
        /// Random number of this run of the viewer. A tutorial relay echoes the hello, and so shows what it is.
        nonce: u64,
    },
    /// Viewer to relay: requests an answer alone, and ends a lease.
    Probe {
        /// Random number, as in a hello.
        nonce: u64,
    },
    /// Relay to viewer: answers a hello or a probe.
    Accept {
        /// Nonce of the hello or the probe.
        nonce: u64,
        /// Whether frames will come.
        verdict: LeaseVerdict,
    },
    /// Relay to a sender of ours: offers the `quic` transport.
    Upgrade,
}

/// The relay's answer to a viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseVerdict {
    /// A lease, or for a probe the prospect of one.
    Welcome,
    /// No lease: all are taken.
    Full,
    /// No lease: the relay is private, and a ticket and the `quic` transport are needed.
    Private,
}

/// Bytes of padding in a hello and a probe.
const PADDING: usize = 64;

/// Why a control message cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a control message of an unknown kind or form")]
pub struct BadControl;

impl Control {
    /// Returns the datagram, a whole JPEG of about 200 bytes.
    pub fn write(self) -> Vec<u8> {
        let (kind, body) = match self {
            Self::Hello { nonce } => (b'H', padded(nonce)),
            Self::Probe { nonce } => (b'P', padded(nonce)),
            Self::Accept { nonce, verdict } => (b'A', format!("{nonce:016x}{}", verdict.letter())),
            Self::Upgrade => (b'U', String::new()),
        };
        let mut out = SOI.to_vec();
        label::push_segment(&mut out, kind, body.as_bytes());
        out.extend_from_slice(&ONE_PIXEL);
        out
    }

    /// Parses the kind and the body of a label segment that is not a frame's.
    pub(crate) fn parse(kind: u8, body: &[u8]) -> Result<Self, BadControl> {
        match (kind, body) {
            (b'H', _) => Ok(Self::Hello {
                nonce: unpadded(body)?,
            }),
            (b'P', _) => Ok(Self::Probe {
                nonce: unpadded(body)?,
            }),
            (b'A', [nonce @ .., letter]) => Ok(Self::Accept {
                nonce: hex(nonce).ok_or(BadControl)?,
                verdict: LeaseVerdict::from_letter(*letter).ok_or(BadControl)?,
            }),
            (b'U', []) => Ok(Self::Upgrade),
            _ => Err(BadControl),
        }
    }
}

fn padded(nonce: u64) -> String {
    format!("{nonce:016x}{}", ".".repeat(PADDING))
}

fn unpadded(body: &[u8]) -> Result<u64, BadControl> {
    let (nonce, padding) = body.split_at_checked(16).ok_or(BadControl)?;
    let whole = padding.len() == PADDING;
    hex(nonce).filter(|_| whole).ok_or(BadControl)
}

impl LeaseVerdict {
    fn letter(self) -> char {
        match self {
            Self::Welcome => 'w',
            Self::Full => 'f',
            Self::Private => 'p',
        }
    }

    fn from_letter(letter: u8) -> Option<Self> {
        [Self::Welcome, Self::Full, Self::Private]
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

    const ALL: [Control; 6] = [
        Control::Hello { nonce: 7 },
        Control::Probe { nonce: 8 },
        Control::Accept {
            nonce: 1,
            verdict: LeaseVerdict::Private,
        },
        Control::Accept {
            nonce: u64::MAX,
            verdict: LeaseVerdict::Welcome,
        },
        Control::Accept {
            nonce: 0,
            verdict: LeaseVerdict::Full,
        },
        Control::Upgrade,
    ];

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
        let hello = Control::Hello { nonce: 1 }.write().len();
        for answer in ALL {
            assert!(answer.write().len() <= hello);
        }
    }

    #[test]
    fn a_torn_control_message_is_neither_control_nor_frame() {
        let mut hello = Control::Hello { nonce: 7 }.write();
        hello[6 + 12] = b'x';
        assert!(classify(hello).is_err());
    }
}
