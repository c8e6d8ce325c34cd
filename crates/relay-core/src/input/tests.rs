//! What hostile senders can make the relay hold, and what they leave to an honest one.

use std::net::IpAddr;

use proptest::prelude::*;
use protocol::MAX_FRAME;
use protocol::datagram::MAX_DATAGRAM;
use protocol::quic::MAX_CAMERAS;

use super::*;

/// Bytes by which frames grow here.
const STEP: usize = 16 << 10;

fn host(n: usize) -> Host {
    Host::from(IpAddr::from([192, 0, 2, n as u8]))
}

fn pool() -> InputPool {
    InputPool::new(InputBounds::VALIDATED)
}

impl InputPool {
    fn opened(&mut self, of: Host) -> InputId {
        let id = self.join(of);
        self.open(id).expect("there is room");
        id
    }

    /// Grows one frame of a sender for as long as that is granted. Returns its bytes.
    fn grow(&mut self, id: InputId, to: usize) -> usize {
        let mut bytes = 0;
        while bytes < to && self.take(id, bytes, STEP) == InputVerdict::Granted {
            bytes += STEP;
        }
        bytes
    }

    /// Returns what is really held: windows and frames, of one host and of all.
    fn held(&self, of: Option<Host>) -> usize {
        let senders = self.senders.values();
        let senders = senders.filter(|sender| of.is_none_or(|of| sender.host == of));
        senders.map(|sender| sender.window + sender.held).sum()
    }
}

#[test]
fn a_few_senders_may_each_send_the_largest_frame() {
    let mut pool = pool();
    let senders: Vec<_> = (0..12).map(|n| pool.opened(host(n / 3))).collect();
    for id in senders {
        assert_eq!(pool.grow(id, MAX_FRAME), MAX_FRAME);
    }
}

#[test]
fn however_many_hostile_senders_hold_all_they_get_an_honest_one_has_its_part() {
    for (hosts, least) in [(63, 640_000), (1, 900_000)] {
        let mut pool = pool();
        let honest = pool.opened(host(200));
        let hostile: Vec<_> = (0..MAX_CAMERAS - 1)
            .map(|n| pool.opened(host(n % hosts)))
            .collect();
        for &id in &hostile {
            while pool.grow(id, MAX_FRAME) > 0 {}
        }
        let sent = pool.grow(honest, MAX_FRAME);
        assert!(sent >= least, "{hosts} hosts: {sent}");
    }
}

#[test]
fn an_honest_sender_behind_the_router_of_hostile_ones_has_its_part_too() {
    let mut pool = pool();
    let hostile: Vec<_> = (0..24).map(|_| pool.opened(host(1))).collect();
    let honest = pool.opened(host(1));
    for &id in &hostile {
        while pool.grow(id, MAX_FRAME) > 0 {}
    }
    let sent = pool.grow(honest, MAX_FRAME);
    assert!(sent > 450_000, "{sent}");
}

#[test]
fn a_small_frame_of_an_open_sender_waits_for_none_of_those_that_came_first() {
    let mut pool = pool();
    for n in 0..10 {
        let first = pool.opened(host(n));
        while pool.grow(first, MAX_FRAME) > 0 {}
    }
    let late: Vec<_> = (10..64).map(|n| pool.join(host(n))).collect();
    let open: Vec<_> = late
        .into_iter()
        .filter(|&id| pool.open(id).is_some())
        .collect();
    assert!((5..54).contains(&open.len()), "{} are open", open.len());
    for id in open {
        assert_eq!(pool.grow(id, LEAST_SHARE), LEAST_SHARE);
    }
}

#[test]
fn more_senders_than_there_are_cameras_leave_each_its_small_frames() {
    let mut pool = pool();
    let honest = pool.opened(host(1));
    for _ in 0..500 {
        let id = pool.join(host(1));
        pool.open(id);
    }
    assert_eq!(pool.grow(honest, LEAST_SHARE), LEAST_SHARE);
    assert!(pool.held(None) <= HOST_INPUT_BYTES);
}

#[test]
fn a_sender_that_comes_when_all_is_held_waits_until_it_is_given_back() {
    let mut pool = pool();
    let first: Vec<_> = (0..14).map(|n| pool.opened(host(n))).collect();
    let held: Vec<_> = first.iter().map(|&id| pool.grow(id, MAX_FRAME)).collect();
    assert!(held.iter().all(|&bytes| bytes == MAX_FRAME));
    let mut waiting: Vec<_> = (20..50).map(|n| pool.join(host(n))).collect();
    waiting.retain(|&id| pool.open(id).is_none());
    assert!(!waiting.is_empty(), "nothing waits");
    assert_eq!(pool.take(first[0], 0, LEAST_SHARE), InputVerdict::Wait);
    for (&id, bytes) in first.iter().zip(held) {
        pool.give(id, bytes);
    }
    for &id in &first {
        let bytes = pool.grow(id, MAX_FRAME);
        assert!((900_000..MAX_FRAME).contains(&bytes), "{bytes}");
    }
    for id in waiting {
        assert!(pool.open(id).is_some());
        assert!(pool.grow(id, MAX_FRAME) > 900_000);
    }
}

#[test]
fn senders_above_their_part_lose_incomplete_frames_until_a_camera_has_its_part_however_often_others_rejoin()
 {
    let mut pool = pool();
    let camera = pool.opened(host(1));
    let mut hostile: Vec<(InputId, usize)> = Vec::new();
    for round in 0..200 {
        // Each holds what it gets; the first leaves when there are 24, and comes back as another.
        if round >= 24 {
            let (id, bytes) = hostile.remove(0);
            pool.give(id, bytes);
            pool.leave(id);
        }
        let id = pool.join(host(1));
        pool.open(id);
        hostile.push((id, 0));
        for (id, bytes) in &mut hostile {
            while pool.take(*id, *bytes, STEP) == InputVerdict::Granted {
                *bytes += STEP;
            }
        }
        // What the relay does every 100 ms.
        for (id, bytes) in &mut hostile {
            if pool.is_exceeded(*id) {
                pool.give(*id, *bytes);
                *bytes = 0;
            }
            assert!(!pool.is_exceeded(*id), "it holds nothing");
        }
        let sent = pool.grow(camera, MAX_FRAME);
        assert!(sent > 450_000, "{round}: {sent}");
        assert!(
            !pool.is_exceeded(camera),
            "a camera that holds its part keeps it"
        );
        pool.give(camera, sent);
    }
}

#[test]
fn a_frame_that_is_larger_than_its_senders_part_is_too_large_and_one_behind_another_waits() {
    let mut pool = pool();
    let id = pool.opened(host(1));
    assert_eq!(pool.take(id, 0, SENDER_FRAMES + 1), InputVerdict::TooLarge);
    assert_eq!(pool.take(id, 0, MAX_FRAME), InputVerdict::Granted);
    assert_eq!(pool.take(id, 0, MAX_FRAME), InputVerdict::Wait);
    pool.give(id, MAX_FRAME);
    assert_eq!(pool.take(id, 0, MAX_FRAME), InputVerdict::Granted);
}

#[test]
fn a_sender_that_left_counts_until_its_last_frame_is_taken_and_then_leaves_nothing() {
    let mut pool = pool();
    let id = pool.opened(host(1));
    pool.take(id, 0, MAX_FRAME);
    pool.leave(id);
    pool.leave(id);
    assert_eq!((pool.all.senders, pool.held(None)), (0, MAX_FRAME));
    pool.give(id, MAX_FRAME);
    assert!(pool.senders.is_empty() && pool.hosts.is_empty());
    assert_eq!(pool.all.bytes(), 0);
    assert_eq!(pool.take(id, 0, 1), InputVerdict::TooLarge);
}

#[test]
fn senders_with_a_ticket_have_all_that_they_can_use() {
    let mut pool = InputPool::new(InputBounds::AUTHENTICATED);
    for _ in 0..MAX_CAMERAS {
        let id = pool.join(host(1));
        assert_eq!(pool.open(id), Some(TICKET_WINDOW));
        assert_eq!(pool.grow(id, MAX_FRAME), MAX_FRAME);
    }
}

#[derive(Debug, Clone)]
enum Act {
    Join(usize),
    Open(usize),
    Take(usize, usize),
    Give(usize, usize),
    Leave(usize),
}

fn act() -> impl Strategy<Value = Act> {
    let sender = 0..MAX_CAMERAS;
    prop_oneof![
        2 => (0..20_usize).prop_map(Act::Join),
        2 => sender.clone().prop_map(Act::Open),
        20 => (sender.clone(), 1..40_usize).prop_map(|(n, steps)| Act::Take(n, steps)),
        3 => (sender.clone(), 1..200_usize).prop_map(|(n, steps)| Act::Give(n, steps)),
        1 => sender.prop_map(Act::Leave),
    ]
}

proptest! {
    #[test]
    fn whatever_senders_do_no_bound_is_exceeded_and_no_honest_one_starves(
        acts in proptest::collection::vec(act(), 0..600)
    ) {
        let mut pool = pool();
        // Sender, whether it is open, and its frame's bytes.
        let mut senders: Vec<(InputId, Host, bool, usize)> = Vec::new();
        for act in acts {
            match act {
                Act::Join(n) if senders.len() < MAX_CAMERAS => {
                    senders.push((pool.join(host(n)), host(n), false, 0));
                }
                Act::Open(n) => if let Some(sender) = senders.get_mut(n)
                    && !sender.2 {
                    sender.2 = pool.open(sender.0).is_some();
                }
                Act::Take(n, steps) => if let Some((id, _, true, bytes)) = senders.get_mut(n) {
                    for _ in 0..steps {
                        let verdict = pool.take(*id, *bytes, STEP);
                        if verdict == InputVerdict::Granted {
                            *bytes += STEP;
                        } else {
                            prop_assert!(*bytes + STEP > LEAST_SHARE, "{:?} at {}", verdict, bytes);
                        }
                    }
                }
                Act::Give(n, steps) => if let Some((id, _, _, bytes)) = senders.get_mut(n) {
                    let given = (steps * STEP).min(*bytes);
                    pool.give(*id, given);
                    *bytes -= given;
                }
                Act::Leave(n) if n < senders.len() => {
                    let (id, _, _, bytes) = senders.remove(n);
                    pool.leave(id);
                    pool.give(id, bytes);
                }
                _ => {}
            }
            prop_assert!(pool.held(None) <= INPUT_BYTES, "{} in all", pool.held(None));
            for n in 0..20 {
                let held = pool.held(Some(host(n)));
                prop_assert!(held <= HOST_INPUT_BYTES, "{} of one host", held);
            }
        }
        // Those above their part lose what they hold, and the loop takes the frames of the others.
        for of in 0..20 {
            let above = |(id, of_sender, ..): &&(InputId, Host, bool, usize)| {
                *of_sender == host(of) && pool.is_exceeded(*id)
            };
            let above = senders.iter().filter(above).count();
            let part = pool.part(host(of));
            let more = |(_, of_sender, _, bytes): &&(InputId, Host, bool, usize)| {
                *of_sender == host(of) && *bytes > part
            };
            prop_assert_eq!(above, senders.iter().filter(more).count());
        }
        for (id, _, _, bytes) in &mut senders {
            pool.give(*id, *bytes);
            *bytes = 0;
        }
        for &(id, _, open, _) in &senders {
            prop_assert!(open || pool.open(id).is_some());
        }
        for &(id, of, ..) in &senders {
            let part = pool.part(of);
            prop_assert!(part >= MAX_DATAGRAM + STEP, "{}", part);
            prop_assert!(pool.grow(id, part - STEP) + STEP >= part);
        }
    }
}
