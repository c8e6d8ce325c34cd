//! Linux's figures on the reassembly of IP fragments.
//!
//! A datagram larger than the path's packets travels in IP fragments. The kernel keeps the fragments of an incomplete
//! datagram for 30 s by default, and 4 MB of them in all; when that is full, complete datagrams are lost as well. So on
//! a lossy path these two figures explain why large frames by UDP do not arrive.

use std::fs;

/// Returns the number of datagrams with missing fragments since the machine started (IPv4, `ReasmFails`); `None` if the
/// system does not report it.
pub fn reassembly_failures() -> Option<u64> {
    ip_counter(&fs::read_to_string("/proc/net/snmp").ok()?, "ReasmFails")
}

/// Returns how long fragments wait for the rest, in seconds (`net.ipv4.ipfrag_time`); `None` if the system does not
/// report it.
pub fn fragment_timeout() -> Option<u64> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ipfrag_time").ok()?;
    text.trim().parse().ok()
}

/// Reads a counter of `/proc/net/snmp`: a line of names, and a line of numbers below it.
fn ip_counter(snmp: &str, name: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Ip: "));
    let column = lines.next()?.split(' ').position(|column| column == name)?;
    lines.next()?.split(' ').nth(column)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_found_by_its_name_and_nonsense_is_none() {
        let snmp = "Ip: Forwarding ReasmReqds ReasmFails\nIp: 1 30 7\nIcmp: ReasmFails\nIcmp: 9\n";
        assert_eq!(ip_counter(snmp, "ReasmFails"), Some(7));
        assert_eq!(ip_counter(snmp, "FragOKs"), None);
        for torn in [
            "",
            "Ip: ReasmFails",
            "Ip: ReasmFails\nIp: x",
            "Ip: A ReasmFails\nIp: 1",
        ] {
            assert_eq!(ip_counter(torn, "ReasmFails"), None, "{torn}");
        }
    }
}
