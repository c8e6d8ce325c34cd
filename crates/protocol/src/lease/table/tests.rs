//! The rules of the table, each by name, in virtual time.

use super::*;

const MS: Duration = Duration::from_millis(1);

fn viewer(n: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], n))
}

fn on_host(host: u8, n: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, host], n))
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

struct Table(Leases, Instant);

impl Table {
    fn new(capacity: usize) -> Self {
        Self(Leases::new(capacity), testkit::time::start())
    }

    fn pass(&mut self, time: Duration) -> Vec<SocketAddr> {
        self.1 += time;
        self.0.expire(self.1)
    }

    fn request(&mut self, viewer: SocketAddr) -> Grant {
        self.0.request(viewer, LeaseRequest::Request, false, self.1)
    }

    fn hello(&mut self, viewer: SocketAddr, proved: bool) -> Grant {
        self.0.request(viewer, LeaseRequest::Hello, proved, self.1)
    }

    fn probe(&mut self, viewer: SocketAddr, proved: bool) -> Grant {
        self.0.request(viewer, LeaseRequest::Probe, proved, self.1)
    }

    fn viewers(&self) -> Vec<SocketAddr> {
        self.0.viewers().collect()
    }
}

#[test]
fn a_proved_lease_lasts_10_s_an_unproved_one_3_s_and_a_tutorial_viewers_on_and_on() {
    let mut table = Table::new(4);
    table.hello(viewer(1), true);
    table.hello(viewer(2), false);
    table.request(viewer(3));
    assert_eq!(table.0.deadline(), Some(table.1 + UNPROVED_LEASE_TIME));
    assert!(table.pass(UNPROVED_LEASE_TIME - MS).is_empty());
    assert_eq!(table.pass(MS), [viewer(2)]);
    assert_eq!(table.pass(LEASE_TIME - UNPROVED_LEASE_TIME), [viewer(1)]);
    assert!(table.pass(secs(1_000_000)).is_empty());
    assert_eq!(table.viewers(), [viewer(3)]);
}

#[test]
fn forged_requests_take_no_lease_from_anyone_however_long_they_go_on() {
    let mut table = Table::new(2);
    table.request(on_host(1, 1));
    table.hello(on_host(1, 2), true);
    for n in 0..600 {
        let forged = on_host(u8::try_from(n % 200).unwrap(), 9);
        assert_eq!(table.request(forged), Grant::Full);
        assert_eq!(table.hello(forged, false), Grant::Full);
        table.hello(on_host(1, 2), true);
        assert!(table.pass(secs(1)).is_empty());
    }
    assert_eq!(table.viewers(), [on_host(1, 1), on_host(1, 2)]);
}

#[test]
fn a_proved_viewer_gets_an_unproved_lease_at_once_the_weakest_and_youngest_first() {
    let mut table = Table::new(3);
    table.request(viewer(1));
    table.request(viewer(2));
    table.hello(viewer(3), false);
    assert_eq!(table.hello(viewer(4), true), Grant::Replaced(viewer(3)));
    assert_eq!(table.hello(viewer(5), true), Grant::Replaced(viewer(2)));
    assert_eq!(table.hello(viewer(6), true), Grant::Replaced(viewer(1)));
    assert_eq!(table.hello(viewer(7), true), Grant::Full);
}

#[test]
fn a_host_that_holds_two_more_gives_its_youngest_lease_to_a_proved_newcomer() {
    let mut table = Table::new(3);
    table.hello(on_host(1, 1), true);
    table.hello(on_host(1, 2), true);
    table.hello(on_host(2, 1), true);
    assert_eq!(
        table.hello(on_host(3, 1), true),
        Grant::Replaced(on_host(1, 2))
    );
    assert_eq!(table.hello(on_host(4, 1), true), Grant::Full);
}

#[test]
fn only_a_proved_probe_ends_a_lease() {
    let mut table = Table::new(4);
    table.request(viewer(1));
    table.hello(viewer(2), true);
    for forged in [viewer(1), viewer(2)] {
        assert_eq!(table.probe(forged, false), Grant::Held);
    }
    assert_eq!(table.probe(viewer(3), false), Grant::NotHeld);
    assert_eq!(table.viewers(), [viewer(1), viewer(2)]);
    assert_eq!(table.probe(viewer(2), true), Grant::Released);
    assert_eq!(table.probe(viewer(2), true), Grant::NotHeld);
}

#[test]
fn a_forged_hello_makes_no_tutorial_viewers_lease_expire_and_a_forged_request_extends_none() {
    let mut table = Table::new(4);
    table.request(viewer(1));
    table.hello(viewer(1), false);
    table.hello(viewer(2), true);
    for _ in 0..9 {
        assert!(table.pass(secs(1)).is_empty());
        table.request(viewer(2));
        table.hello(viewer(2), false);
    }
    assert_eq!(table.pass(secs(1)), [viewer(2)]);
    assert_eq!(table.viewers(), [viewer(1)]);
}

#[test]
fn one_refusal_changes_nothing_a_minute_of_them_ends_a_lease() {
    let mut table = Table::new(1);
    table.request(viewer(1));
    assert!(!table.0.on_refused(viewer(1), table.1));
    assert_eq!(table.0.receivers(table.1), [viewer(1)]);
    let mut frames = 0;
    for n in 1..600 {
        table.pass(100 * MS);
        let ended = table.0.on_refused(viewer(1), table.1);
        assert!(!ended, "{n}");
        frames += table.0.receivers(table.1).len();
    }
    assert!((60..75).contains(&frames), "one a second: {frames}");
    table.pass(100 * MS);
    assert!(table.0.on_refused(viewer(1), table.1));
    assert!(table.viewers().is_empty());
}

#[test]
fn a_viewer_whose_refusals_were_forged_gets_all_frames_again_3_s_later() {
    let mut table = Table::new(1);
    table.request(viewer(1));
    for _ in 0..50 {
        table.0.on_refused(viewer(1), table.1);
        table.pass(100 * MS);
    }
    table.pass(CAMERA_TIMEOUT);
    for _ in 0..10 {
        assert_eq!(table.0.receivers(table.1), [viewer(1)]);
        table.pass(100 * MS);
    }
}

#[test]
fn forged_refusals_give_a_lease_to_no_newcomer_that_has_proved_nothing() {
    let mut table = Table::new(2);
    table.request(viewer(1));
    table.request(viewer(2));
    for _ in 0..=20 {
        table.0.on_refused(viewer(1), table.1);
        table.pass(100 * MS);
    }
    assert_eq!(table.request(viewer(3)), Grant::Full);
    assert_eq!(table.hello(viewer(3), true), Grant::Replaced(viewer(1)));
}

#[test]
fn what_comes_from_a_viewers_address_is_not_a_frame_unless_it_goes_on_and_on() {
    let mut table = Table::new(2);
    table.request(viewer(1));
    table.hello(viewer(2), true);
    for _ in 0..30 {
        assert!(table.0.on_frame_from(viewer(1), table.1));
        table.pass(100 * MS);
    }
    assert!(!table.0.on_frame_from(viewer(1), table.1), "a camera");
    assert_eq!(table.0.receivers(table.1), [viewer(2)]);
    for _ in 0..60 {
        table.hello(viewer(2), true);
        assert!(table.0.on_frame_from(viewer(2), table.1), "proved");
        table.pass(100 * MS);
    }
    assert_eq!(table.0.receivers(table.1), [viewer(1), viewer(2)]);
    assert!(!table.0.on_frame_from(viewer(3), table.1), "no lease");
}

#[test]
fn a_closed_transport_has_no_lease() {
    let mut table = Table::new(0);
    assert_eq!(table.request(viewer(1)), Grant::Full);
    assert_eq!(table.hello(viewer(1), true), Grant::Full);
}
