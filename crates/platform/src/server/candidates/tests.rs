//! The choice in virtual time: a table of what was seen and where that leads, and hosts that come and go.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::Outcome::{Answered, Refused, Silent, Unconfirmed, Unreachable};
use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn v6(n: u16) -> SocketAddr {
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n), 8081).into()
}

fn v4(n: u8) -> SocketAddr {
    (Ipv4Addr::new(192, 0, 2, n), 8081).into()
}

fn of(addresses: &[SocketAddr]) -> Candidates {
    let mut candidates = Candidates::default();
    candidates.on_resolved(addresses);
    candidates
}

/// Reports outcomes of the current address, one each `interval`, and returns the addresses in use after each.
fn after(
    candidates: &mut Candidates,
    outcomes: &[Outcome],
    interval: Duration,
    now: &mut Instant,
) -> Vec<SocketAddr> {
    let step = |outcome: &Outcome| {
        *now += interval;
        candidates.on_outcome(candidates.current().unwrap(), *outcome, *now);
        candidates.current().unwrap()
    };
    outcomes.iter().map(step).collect()
}

#[test]
fn what_is_seen_of_each_address_leads_to_the_next() {
    type Case<'a> = (&'a str, &'a [SocketAddr], &'a [Outcome], &'a [SocketAddr]);
    let (a6, a4, b4) = (v6(1), v4(1), v4(2));
    let cases: &[Case<'_>] = &[
        (
            "one address is the only one",
            &[a4],
            &[Silent, Refused, Unconfirmed],
            &[a4, a4, a4],
        ),
        (
            "the system's order counts",
            &[a6, a4],
            &[Answered, Answered],
            &[a6, a6],
        ),
        (
            "localhost: ::1 refuses",
            &[a6, a4],
            &[Refused, Answered],
            &[a4, a4],
        ),
        (
            "no IPv6 on this host",
            &[a6, a4],
            &[Unreachable, Answered],
            &[a4, a4],
        ),
        ("IPv6 alone", &[a4, a6], &[Unreachable, Answered], &[a6, a6]),
        (
            "silence moves on, round after round",
            &[a6, a4],
            &[Silent, Silent, Silent],
            &[a4, a6, a4],
        ),
        (
            "a tutorial relay at IPv4 keeps its sender",
            &[a6, a4],
            &[Unconfirmed, Unconfirmed, Unconfirmed, Unconfirmed],
            &[a4, a4, a4, a4],
        ),
        (
            "in whatever order",
            &[a4, a6],
            &[Unconfirmed, Unconfirmed, Unconfirmed],
            &[a6, a4, a4],
        ),
        (
            "and while it restarts",
            &[a6, a4],
            &[Unconfirmed, Unconfirmed, Refused],
            &[a4, a4, a4],
        ),
        (
            "one with two IPv4 addresses too",
            &[a6, a4, b4],
            &[Refused, Unconfirmed, Unconfirmed],
            &[a4, b4, a4],
        ),
        (
            "no route by IPv4",
            &[a6, a4],
            &[Unconfirmed, Unreachable, Unconfirmed],
            &[a4, a6, a6],
        ),
        (
            "nothing listens yet",
            &[a6, a4],
            &[Refused, Refused, Refused],
            &[a4, a4, a4],
        ),
    ];
    for (name, addresses, outcomes, expected) in cases {
        let seen = after(
            &mut of(addresses),
            outcomes,
            SECOND / 10,
            &mut Instant::now(),
        );
        assert_eq!(seen, *expected, "{name}");
    }
}

#[test]
fn an_address_that_answered_is_kept_for_ten_seconds_of_silence() {
    let (mut now, mut candidates) = (Instant::now(), of(&[v6(1), v4(1)]));
    after(&mut candidates, &[Answered], SECOND, &mut now);
    let kept = after(
        &mut candidates,
        &[Silent, Refused, Unreachable, Silent],
        2 * SECOND,
        &mut now,
    );
    assert_eq!(kept, [v6(1); 4]);
    let moved = after(&mut candidates, &[Silent], 2 * SECOND, &mut now);
    assert_eq!(moved, [v4(1)]);
}

#[test]
fn a_round_that_nothing_confirmed_is_repeated_seldom_and_ever_more_so() {
    let (mut now, mut candidates) = (Instant::now(), of(&[v6(1), v4(1)]));
    let seconds: Vec<u64> = (0..1200)
        .filter(|_| {
            after(&mut candidates, &[Unconfirmed], SECOND, &mut now);
            candidates.current() == Some(v6(1))
        })
        .collect();
    assert_eq!(seconds.len(), 6, "of 1200 s: {seconds:?}");
}

#[test]
fn a_round_in_which_all_refused_is_repeated_after_a_second() {
    let (mut now, mut candidates) = (Instant::now(), of(&[v6(1), v4(1)]));
    after(
        &mut candidates,
        &[Refused, Refused],
        Duration::ZERO,
        &mut now,
    );
    let tenth = after(&mut candidates, &[Refused; 20], SECOND / 10, &mut now);
    let away = tenth.iter().filter(|at| **at == v6(1)).count();
    assert!((1..=2).contains(&away), "{tenth:?}");
}

#[test]
fn a_new_resolution_keeps_an_address_that_is_still_in_it() {
    let mut candidates = of(&[v4(1), v4(2), v4(3)]);
    let now = Instant::now();
    candidates.on_outcome(v4(1), Refused, now);
    candidates.on_outcome(v4(2), Answered, now);
    candidates.on_resolved(&[v4(3), v4(1), v4(2), v4(3)]);
    assert_eq!(candidates.current(), Some(v4(2)));
    assert_eq!(candidates.addresses(), [v4(3), v4(1), v4(2)]);
    candidates.on_outcome(v4(2), Silent, now + SECOND);
    assert_eq!(
        candidates.current(),
        Some(v4(2)),
        "it answered a second ago"
    );
    candidates.on_resolved(&[]);
    assert_eq!(candidates.current(), Some(v4(2)), "the resolver failed");
    candidates.on_resolved(&[v4(4), v4(5)]);
    assert_eq!(candidates.current(), Some(v4(4)), "the name moved");
    let many: Vec<_> = (0..200).map(v4).collect();
    candidates.on_resolved(&many);
    assert_eq!(candidates.addresses().len(), MAX_CANDIDATES);
}

#[test]
fn what_was_seen_of_an_address_that_is_not_in_use_changes_nothing() {
    let (now, mut candidates) = (Instant::now(), of(&[v6(1), v4(1)]));
    candidates.on_outcome(v4(1), Answered, now);
    candidates.on_outcome(v4(1), Refused, now);
    assert_eq!(candidates.current(), Some(v6(1)));
    candidates.on_outcome(v6(1), Silent, now);
    assert_eq!(candidates.current(), Some(v4(1)));
}

/// What a host does with what is sent to it.
fn host() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Answered),
        Just(Refused),
        Just(Unreachable),
        Just(Silent)
    ]
}

/// Runs a program against hosts for so long: it tries the current address, and waits for 2 s where nothing comes.
/// Returns the address in use at the end, and how often an address was left that answers.
fn run(
    candidates: &mut Candidates,
    hosts: &[Outcome],
    all: &[SocketAddr],
    is_udp_sender: bool,
    span: Duration,
    now: &mut Instant,
) -> (Outcome, u32) {
    let does = |at: SocketAddr| hosts[all.iter().position(|one| *one == at).unwrap()];
    let (end, mut left) = (*now + span, 0);
    while *now < end {
        let at = candidates.current().unwrap();
        let outcome = match does(at) {
            Silent if is_udp_sender => Unconfirmed,
            outcome => outcome,
        };
        *now += if matches!(outcome, Silent | Unconfirmed) {
            2 * SECOND
        } else {
            SECOND / 10
        };
        candidates.on_outcome(at, outcome, *now);
        left += u32::from(outcome == Answered && candidates.current() != Some(at));
    }
    (does(candidates.current().unwrap()), left)
}

proptest! {
    /// Also after the hosts have changed their ways, and the name's addresses their order.
    #[test]
    fn an_address_that_answers_is_found_and_kept(
        before in prop::collection::vec(host(), 1..6), changes in prop::collection::vec(host(), 6..7),
        ipv4 in any::<[bool; 6]>(), turn in 0usize..6, is_udp_sender in any::<bool>(),
    ) {
        let count = before.len();
        let after = &changes[..count];
        let all: Vec<SocketAddr> = (0..count).map(|n| if ipv4[n] { v4(n as u8) } else { v6(n as u16) }).collect();
        let (mut candidates, mut now) = (of(&all), Instant::now());
        let mut turned = all.clone();
        turned.rotate_left(turn % count);
        for hosts in [&before[..], after] {
            let span = KEPT + LAST_UNCONFIRMED_PAUSE + 2 * SECOND * 2 * count as u32;
            let (last, left) = run(&mut candidates, hosts, &all, is_udp_sender, span, &mut now);
            prop_assert_eq!(left, 0);
            let answers = hosts.contains(&Answered);
            prop_assert!(!answers || last == Answered, "{:?} {:?}", hosts, candidates);
            candidates.on_resolved(&turned);
        }
    }
}
