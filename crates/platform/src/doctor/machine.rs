//! What more than one program asks of its machine: clock, buffers, torn datagrams, processors, a container.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::available_parallelism;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use protocol::datagram::MAX_DATAGRAM;
use socket2::SockRef;

use super::Check;
use crate::{kernel, udp};

/// Before this, 2025-01-01, no clock that was ever set can stand.
const EARLIEST: Duration = Duration::from_secs(1_735_689_600);
/// Pieces of torn datagrams that wait longer than this, in seconds, choke large frames on a lossy path.
const LONG_WAIT: u64 = 2;

/// Whether the clock is set.
pub fn clock() -> Check {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    judge_clock(synchronised(), since)
}

fn judge_clock(synchronised: Option<bool>, now: Duration) -> Check {
    const CURE: &str = "sudo timedatectl set-ntp true sets it; by QUIC the age is right all the same, plainly it is not";
    match synchronised {
        _ if now < EARLIEST => Check::advice("clock", format!("stands years in the past; {CURE}")),
        Some(true) => Check::good("clock", "synchronised"),
        Some(false) => Check::advice("clock", format!("is not synchronised; {CURE}")),
        None => Check::good(
            "clock",
            "this system does not tell whether it is synchronised",
        ),
    }
}

/// What the kernel knows of it, asked of systemd: the system call itself has no safe form in a crate that is kept.
fn synchronised() -> Option<bool> {
    let asked = Command::new("timedatectl")
        .args(["show", "--property=NTPSynchronized", "--value"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    match asked.ok()?.stdout.trim_ascii() {
        b"yes" => Some(true),
        b"no" => Some(false),
        _ => None,
    }
}

/// How much may wait for this program to read it.
pub fn buffers() -> Check {
    let granted = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .map_or(0, |socket| udp::grow_receive_buffer(&socket));
    judge_buffers(granted)
}

fn judge_buffers(granted: usize) -> Check {
    let kb = granted / 1000;
    if granted >= udp::SMALL_BUFFER {
        return Check::good("buffers", format!("{kb} kB for datagrams that wait"));
    }
    Check::advice(
        "buffers",
        format!(
            "the kernel grants {kb} kB for datagrams that wait, so bursts of large frames may be lost: \
             sudo sysctl -w net.core.rmem_max={}",
            udp::RECEIVE_BUFFER
        ),
    )
}

/// How much may wait for the network card.
pub fn send_buffer() -> Check {
    let granted = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|socket| SockRef::from(&socket).send_buffer_size())
        .unwrap_or(0);
    judge_send_buffer(granted / 2)
}

fn judge_send_buffer(granted: usize) -> Check {
    let kb = granted / 1000;
    match granted >= MAX_DATAGRAM {
        true => Check::good("buffers", format!("{kb} kB for frames that wait to leave")),
        false => Check::advice(
            "buffers",
            format!(
                "the kernel grants {kb} kB for frames that wait to leave, which is less than the largest frame: \
                     sudo sysctl -w net.core.wmem_default=212992"
            ),
        ),
    }
}

/// Torn datagrams, looked at twice.
#[derive(Debug)]
pub struct Torn {
    failures: Option<u64>,
}

impl Torn {
    /// The first look.
    pub fn look() -> Self {
        Self {
            failures: kernel::reassembly_failures(),
        }
    }

    /// The second: what was torn meanwhile, and how long the pieces wait. `plain`: whether frames come plainly.
    pub fn judge(&self, plain: bool) -> Check {
        let meanwhile = kernel::reassembly_failures().zip(self.failures);
        let torn = meanwhile.map_or(0, |(now, before)| now.saturating_sub(before));
        judge_pieces(kernel::fragment_timeout(), torn, plain)
    }
}

fn judge_pieces(wait: Option<u64>, torn: u64, plain: bool) -> Check {
    const CURE: &str =
        "sudo sysctl -w net.ipv4.ipfrag_time=1, frames below 15 kB, or QUIC (--transport auto)";
    let Some(wait) = wait else {
        return Check::good(
            "pieces",
            "this system does not tell how it treats torn datagrams",
        );
    };
    match torn {
        1.. => Check::advice(
            "pieces",
            format!(
                "{torn} datagrams came torn during this very look, and large plain frames among them are lost: {CURE}"
            ),
        ),
        0 if plain && wait > LONG_WAIT => Check::advice(
            "pieces",
            format!(
                "those of torn datagrams are kept for {wait} s, so on a lossy path large plain frames starve: {CURE}"
            ),
        ),
        0 => Check::good(
            "pieces",
            format!("those of torn datagrams are kept for {wait} s; QUIC does without"),
        ),
    }
}

/// How many processors there are.
pub fn processors() -> Check {
    judge_processors(available_parallelism().map_or(1, usize::from))
}

fn judge_processors(count: usize) -> Check {
    match count {
        1 => Check::advice(
            "processors",
            "one, which the model and the forwarding share: --every 8, or auto, leaves it air",
        ),
        _ => Check::good("processors", format!("{count}, one of them for forwarding")),
    }
}

/// Whether this is a container whose network hides who is who.
pub fn container() -> Check {
    let inside = ["/.dockerenv", "/run/.containerenv"];
    let inside = inside.iter().any(|file| Path::new(file).exists());
    judge_container(inside, has_hardware_network())
}

/// A container that shares its host's network sees the host's cards; one with a network of its own sees none.
fn has_hardware_network() -> bool {
    let cards = fs::read_dir("/sys/class/net")
        .into_iter()
        .flatten()
        .flatten();
    cards
        .into_iter()
        .any(|card| card.path().join("device").exists())
}

fn judge_container(inside: bool, hardware: bool) -> Check {
    match (inside, hardware) {
        (false, _) => Check::good("container", "none, so addresses are those of the peers"),
        (true, true) => Check::good(
            "container",
            "with its host's network, so addresses are those of the peers",
        ),
        (true, false) => Check::advice(
            "container",
            "with a network of its own: Docker's proxy may give all peers one address, and then a camera's place and \
             the bounds for one address are everybody's; docker run --network host does without it",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict::{self, Advice, Good};
    use super::*;

    fn told(check: Check, verdict: Verdict, words: &str) {
        assert!(
            check.verdict == verdict && check.text.contains(words),
            "{check:?}"
        );
    }

    #[test]
    fn a_clock_is_good_where_it_is_synchronised_or_nobody_knows() {
        let today = EARLIEST + Duration::from_secs(1);
        told(judge_clock(Some(true), today), Good, "synchronised");
        told(judge_clock(None, today), Good, "does not tell");
        told(judge_clock(Some(false), today), Advice, "set-ntp");
        for known in [None, Some(true)] {
            told(
                judge_clock(known, EARLIEST - Duration::from_secs(1)),
                Advice,
                "past",
            );
        }
    }

    #[test]
    fn a_small_buffer_comes_with_its_sysctl() {
        told(judge_buffers(udp::SMALL_BUFFER), Good, "1048 kB");
        told(
            judge_buffers(212_992),
            Advice,
            "sysctl -w net.core.rmem_max=4194304",
        );
    }

    #[test]
    fn a_send_buffer_holds_the_largest_frame() {
        told(judge_send_buffer(106_496), Good, "106 kB");
        told(judge_send_buffer(65_000), Advice, "wmem_default");
    }

    #[test]
    fn pieces_that_wait_long_matter_to_plain_frames_alone_and_torn_ones_to_all() {
        told(judge_pieces(Some(30), 0, true), Advice, "ipfrag_time=1");
        told(judge_pieces(Some(1), 0, true), Good, "1 s");
        told(judge_pieces(Some(30), 0, false), Good, "30 s");
        told(
            judge_pieces(Some(1), 3, false),
            Advice,
            "3 datagrams came torn",
        );
        told(judge_pieces(None, 0, true), Good, "does not tell");
    }

    #[test]
    fn one_processor_is_few() {
        told(judge_processors(1), Advice, "--every 8");
        told(judge_processors(2), Good, "2");
    }

    #[test]
    fn only_a_container_with_a_network_of_its_own_hides_addresses() {
        told(judge_container(true, false), Advice, "--network host");
        told(judge_container(true, true), Good, "host's network");
        told(judge_container(false, false), Good, "none");
    }
}
