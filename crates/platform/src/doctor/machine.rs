//! Checks of the machine that more than one program runs: clock, buffers, IP reassembly, processors, container.

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

/// Time since the Unix epoch, 2025-01-01, before which a clock cannot be right.
const EARLIEST: Duration = Duration::from_secs(1_735_689_600);
/// Longest wait of IP fragments for the rest, in seconds, that leaves room for large frames on a lossy path.
const MAX_FRAGMENT_WAIT: u64 = 2;

/// Checks whether the clock is synchronised.
pub fn clock() -> Check {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    judge_clock(synchronised(), since)
}

fn judge_clock(synchronised: Option<bool>, now: Duration) -> Check {
    const CURE: &str =
        "sudo timedatectl set-ntp true sets it; ages are right by QUIC and wrong by plain UDP";
    match synchronised {
        _ if now < EARLIEST => Check::advice("clock", format!("stands years in the past; {CURE}")),
        Some(true) => Check::good("clock", "synchronised"),
        Some(false) => Check::advice("clock", format!("is not synchronised; {CURE}")),
        None => Check::good(
            "clock",
            "this system does not report whether it is synchronised",
        ),
    }
}

/// Returns the kernel's state of the clock from systemd: no maintained crate has a safe form of the system call.
fn synchronised() -> Option<bool> {
    let output = Command::new("timedatectl")
        .args(["show", "--property=NTPSynchronized", "--value"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    match output.ok()?.stdout.trim_ascii() {
        b"yes" => Some(true),
        b"no" => Some(false),
        _ => None,
    }
}

/// Checks the size of a socket's receive buffer.
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

/// Checks the size of a socket's send buffer.
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

/// The check of IP reassembly, which counts incomplete datagrams while `doctor` runs.
#[derive(Debug)]
pub struct ReassemblyCheck {
    /// Counter at the start; `None` if the system does not report it.
    failures: Option<u64>,
}

impl ReassemblyCheck {
    /// Starts to count.
    pub fn start() -> Self {
        Self {
            failures: kernel::reassembly_failures(),
        }
    }

    /// Checks the incomplete datagrams since the start, and how long fragments wait; `udp` is whether frames may come
    /// by plain UDP.
    pub fn finish(&self, udp: bool) -> Check {
        let counts = kernel::reassembly_failures().zip(self.failures);
        let incomplete = counts.map_or(0, |(now, before)| now.saturating_sub(before));
        judge_reassembly(kernel::fragment_timeout(), incomplete, udp)
    }
}

fn judge_reassembly(wait: Option<u64>, incomplete: u64, udp: bool) -> Check {
    const CURE: &str =
        "sudo sysctl -w net.ipv4.ipfrag_time=1, frames below 15 kB, or QUIC (--transport auto)";
    let Some(wait) = wait else {
        return Check::good(
            "reassembly",
            "this system does not report how it treats incomplete datagrams",
        );
    };
    match incomplete {
        1.. => Check::advice(
            "reassembly",
            format!(
                "{incomplete} incomplete datagrams came during this check; large frames by UDP among them are lost: \
                 {CURE}"
            ),
        ),
        0 if udp && wait > MAX_FRAGMENT_WAIT => Check::advice(
            "reassembly",
            format!(
                "fragments of incomplete datagrams are kept for {wait} s, so large frames by UDP are lost on a lossy \
                 path: {CURE}"
            ),
        ),
        0 => Check::good(
            "reassembly",
            format!("fragments of incomplete datagrams are kept for {wait} s; QUIC sends none"),
        ),
    }
}

/// Checks the number of processors.
pub fn processors() -> Check {
    judge_processors(available_parallelism().map_or(1, usize::from))
}

fn judge_processors(count: usize) -> Check {
    match count {
        1 => Check::advice(
            "processors",
            "one, shared by the model and the forwarding: use --every 8 or --every auto",
        ),
        _ => Check::good("processors", format!("{count}, one of them for forwarding")),
    }
}

/// Checks for a container whose network hides the peers' addresses.
pub fn container() -> Check {
    let inside = ["/.dockerenv", "/run/.containerenv"];
    let inside = inside.iter().any(|file| Path::new(file).exists());
    judge_container(inside, has_hardware_network())
}

/// Returns whether the network has a card: a container that shares its host's network sees the host's cards, one with a
/// network of its own sees none.
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
            "with a network of its own: Docker's proxy may give all peers one address, and then they share the names and \
             the limits of one address; start it with docker run --network host",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict::{self, Advice, Good};
    use super::*;

    fn assert_check(check: Check, verdict: Verdict, text: &str) {
        assert!(
            check.verdict == verdict && check.text.contains(text),
            "{check:?}"
        );
    }

    #[test]
    fn a_clock_is_good_if_it_is_synchronised_or_the_system_does_not_report_it() {
        let today = EARLIEST + Duration::from_secs(1);
        assert_check(judge_clock(Some(true), today), Good, "synchronised");
        assert_check(judge_clock(None, today), Good, "does not report");
        assert_check(judge_clock(Some(false), today), Advice, "set-ntp");
        for known in [None, Some(true)] {
            assert_check(
                judge_clock(known, EARLIEST - Duration::from_secs(1)),
                Advice,
                "past",
            );
        }
    }

    #[test]
    fn a_small_buffer_comes_with_its_sysctl() {
        assert_check(judge_buffers(udp::SMALL_BUFFER), Good, "1048 kB");
        assert_check(
            judge_buffers(212_992),
            Advice,
            "sysctl -w net.core.rmem_max=4194304",
        );
    }

    #[test]
    fn a_send_buffer_holds_the_largest_frame() {
        assert_check(judge_send_buffer(106_496), Good, "106 kB");
        assert_check(judge_send_buffer(65_000), Advice, "wmem_default");
    }

    #[test]
    fn pieces_that_wait_long_matter_to_frames_by_udp_alone_and_torn_ones_to_all() {
        assert_check(judge_reassembly(Some(30), 0, true), Advice, "ipfrag_time=1");
        assert_check(judge_reassembly(Some(1), 0, true), Good, "1 s");
        assert_check(judge_reassembly(Some(30), 0, false), Good, "30 s");
        assert_check(
            judge_reassembly(Some(1), 3, false),
            Advice,
            "3 incomplete datagrams came",
        );
        assert_check(judge_reassembly(None, 0, true), Good, "does not report");
    }

    #[test]
    fn one_processor_is_few() {
        assert_check(judge_processors(1), Advice, "--every 8");
        assert_check(judge_processors(2), Good, "2");
    }

    #[test]
    fn only_a_container_with_a_network_of_its_own_hides_addresses() {
        assert_check(judge_container(true, false), Advice, "--network host");
        assert_check(judge_container(true, true), Good, "host's network");
        assert_check(judge_container(false, false), Good, "none");
    }
}
