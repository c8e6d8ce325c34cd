//! Floods of bare datagrams.

use protocol::control::{Control, Question};
use protocol::peer::Cookie;

use super::pace::steadily;
use super::{Tally, Target, host};

/// Lengths of datagrams: nothing, less than a header, a control message's, QUIC's smallest and largest, a piece of ffmpeg's,
/// and one that the kernel sends in pieces.
const LENGTHS: [usize; 10] = [0, 1, 3, 7, 82, 200, 500, 1200, 1472, 9000];
/// How datagrams begin: as nothing, as a JPEG, as a long header of QUIC, as a short one, as MPEG-TS, as a JPEG of ours.
const BEGINNINGS: [&[u8]; 6] = [
    &[0x55],
    &[0xFF, 0xD8, 0xFF],
    &[0xC3, 0, 0, 0, 1, 8],
    &[0x4A],
    &[0x47],
    b"\xFF\xD8\xFF\xEB\x00\x20sightline\x00\x01F",
];

/// Sends datagrams that are nothing.
pub(super) async fn garbage(target: &Target, tally: &Tally) {
    let sockets = host::sockets(1, target.relay);
    let datagrams: Vec<Vec<u8>> = LENGTHS
        .iter()
        .flat_map(|length| BEGINNINGS.map(|start| nonsense(start, *length)))
        .collect();
    steadily(20_000, |n| {
        let (socket, datagram) = (pick(&sockets, n), pick(&datagrams, n));
        let sent = socket.send_to(datagram, target.relay);
        tally.outcome(sent.is_ok());
    })
    .await;
}

fn nonsense(start: &[u8], length: usize) -> Vec<u8> {
    let rest = (0..length).map(|n| (n * 151 % 251) as u8);
    let mut bytes: Vec<u8> = start.iter().copied().chain(rest).collect();
    bytes.truncate(length);
    bytes
}

/// Sends what draws a lease or an answer, with wrong cookies and with none.
pub(super) async fn requests(target: &Target, tally: &Tally) {
    let sockets = host::sockets(4, target.relay);
    steadily(9_000, |n| {
        let cookie = (n % 2 == 0).then_some(Cookie(n));
        let question = Question::new(n, cookie);
        let datagram = match n % 3 {
            0 => Control::Hello(question).write(),
            1 => Control::Probe(question).write(),
            _ => b"Request".to_vec(),
        };
        // A third of the sockets for each kind, so that some have a lease and nothing else.
        let socket = pick(&sockets, n);
        let sent = socket.send_to(&datagram, target.relay);
        tally.outcome(sent.is_ok());
    })
    .await;
}

pub(super) fn pick<T>(all: &[T], number: u64) -> &T {
    &all[(number % all.len() as u64) as usize]
}
