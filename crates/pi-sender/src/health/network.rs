//! The signal of the Wi-Fi that frames leave by: that of the default route's interface.

use std::path::Path;

use super::read_text;

/// Returns the signal in dBm; `None` if frames leave by a cable, or the driver reports none.
pub(super) fn wifi_dbm(root: &Path) -> Option<i8> {
    let wireless = read_text(&root.join("proc/net/wireless"))?;
    let interface = default_interface(root)?;
    let (_, figures) = wireless
        .lines()
        .filter_map(|line| line.trim().split_once(':'))
        .find(|(name, _)| *name == interface)?;
    // Status, link quality, level and noise; a dot behind a figure marks it as new.
    let level = figures.split_whitespace().nth(2)?;
    let level: i8 = level.trim_end_matches('.').parse().ok()?;
    (level < 0).then_some(level)
}

/// Returns the interface of the default route with the lowest metric: IPv4's, else IPv6's.
fn default_interface(root: &Path) -> Option<String> {
    let read = |file| read_text(&root.join(file)).unwrap_or_default();
    let v4 = read("proc/net/route");
    let v6 = read("proc/net/ipv6_route");
    let lowest = |routes: Vec<(u32, &str)>| {
        let lowest = routes.into_iter().min_by_key(|(metric, _)| *metric);
        lowest.map(|(_, interface)| interface.to_owned())
    };
    let v4 = lowest(v4.lines().filter_map(route_v4).collect());
    v4.or_else(|| lowest(v6.lines().filter_map(route_v6).collect()))
}

/// Returns metric and interface of a line of `/proc/net/route` that is a default route: interface, destination, gateway,
/// flags, references, uses, metric, mask.
fn route_v4(line: &str) -> Option<(u32, &str)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let is_default = words.get(1) == Some(&"00000000") && words.get(7) == Some(&"00000000");
    let metric = words.get(6)?.parse().ok()?;
    is_default.then_some((metric, words[0]))
}

/// Returns metric and interface of a line of `/proc/net/ipv6_route` that is a default route: destination, its length, source,
/// its length, next hop, metric, references, uses, flags, interface. The kernel's own route to nowhere, `lo`'s, has the
/// highest metric.
fn route_v6(line: &str) -> Option<(u32, &str)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let is_default = words.get(1) == Some(&"00") && words.first()?.bytes().all(|b| b == b'0');
    let metric = u32::from_str_radix(words.get(5)?, 16).ok()?;
    let interface = *words.get(9)?;
    (is_default).then_some((metric, interface))
}

#[cfg(test)]
mod tests {
    use super::super::tests::Machine;
    use super::*;

    const WIRELESS: &str = "\
Inter-| sta-|   Quality        |   Discarded packets               | Missed | WE
 face | tus | link level noise |  nwid  crypt   frag  retry   misc | beacon | 22
 wlan1: 0000   30.  -80.  -256        0      0      0      0      0        0
 wlan0: 0000   54.  -56.  -256        0      0      0      4      0        0
";
    const HEAD: &str =
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";

    fn signal(wireless: &str, v4: &str, v6: &str) -> Option<i8> {
        let machine = Machine::new(&[
            ("proc/net/wireless", wireless),
            ("proc/net/route", &format!("{HEAD}{v4}")),
            ("proc/net/ipv6_route", v6),
        ]);
        wifi_dbm(machine.root())
    }

    fn v4(interface: &str, destination: &str, metric: u32, mask: &str) -> String {
        format!("{interface}\t{destination}\t010200C0\t0003\t0\t0\t{metric}\t{mask}\t0\t0\t0\n")
    }

    fn v6(interface: &str, metric: &str) -> String {
        let zeros = "0".repeat(32);
        format!("{zeros} 00 {zeros} 00 {zeros} {metric} 00000001 00000000 00000003 {interface}\n")
    }

    #[test]
    fn the_signal_is_that_of_the_default_routes_interface() {
        let wifi = v4("wlan0", "00000000", 600, "00000000");
        let local = v4("wlan1", "0002A8C0", 0, "00FFFFFF");
        assert_eq!(signal(WIRELESS, &format!("{local}{wifi}"), ""), Some(-56));
        assert_eq!(signal(WIRELESS, &local, ""), None);
    }

    #[test]
    fn beside_a_cable_of_lower_metric_wifi_carries_no_frames() {
        let cable = v4("eth0", "00000000", 100, "00000000");
        let wifi = v4("wlan0", "00000000", 600, "00000000");
        assert_eq!(signal(WIRELESS, &format!("{wifi}{cable}"), ""), None);
    }

    #[test]
    fn where_there_is_ipv6_alone_its_route_counts() {
        let routes = [
            v6("lo", "ffffffff"),
            v6("wlan1", "00000400"),
            v6("wlan0", "00000258"),
        ];
        assert_eq!(signal(WIRELESS, "", &routes.concat()), Some(-56));
        let only_lo = v6("lo", "ffffffff");
        assert_eq!(signal(WIRELESS, "", &only_lo), None);
    }

    #[test]
    fn a_driver_without_a_signal_in_dbm_reports_none() {
        let route = v4("wlan0", "00000000", 600, "00000000");
        for level in ["-256.", "0", "200.", "x", ""] {
            let wireless = format!(" wlan0: 0000   54.  {level}\n");
            assert_eq!(signal(&wireless, &route, ""), None, "{level}");
        }
        assert_eq!(wifi_dbm(Machine::new(&[]).root()), None);
    }
}
