//! Ports that a test may release and bind again.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below 32768, the start of the range from which systems assign ports: another socket may get a port of that range as
/// soon as a test releases it.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Returns a UDP port of 127.0.0.1 that is free, and stays free while the program under test restarts.
///
/// # Panics
/// If every port is taken.
pub fn free() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test programs that run at the same time begin at different places.
    let begin = std::process::id().wrapping_mul(61);
    let count = u32::from(PORTS.end - PORTS.start);
    (0..count)
        .map(|_| begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed).into()) % count)
        .filter_map(|offset| Some(PORTS.start + u16::try_from(offset).ok()?))
        .find(|&port| UdpSocket::bind(("127.0.0.1", port)).is_ok())
        .expect("one of 12 000 ports is free")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_port_is_another_and_outside_the_range_of_any() {
        let ports = [free(), free(), free()];
        assert!(ports.iter().all(|port| PORTS.contains(port)));
        assert!(ports[0] != ports[1] && ports[1] != ports[2]);
    }
}
